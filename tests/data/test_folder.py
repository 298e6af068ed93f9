import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ganmix.data.folder import UnreadableImageError, read_folder
from ganmix.errors import UserError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def halves(left: tuple[int, ...], right: tuple[int, ...], mode: str = "RGB") -> Image.Image:
    """A 32x32 image of two colours, side by side."""
    image = Image.new(mode, (32, 32), left)
    image.paste(right, (16, 0, 32, 32))
    return image


def read_one(folder: Path, resolution: int = 32, channels: int = 3) -> Tensor:
    data = read_folder(folder, resolution=resolution, channels=channels)
    assert data.images.shape == (1, channels, resolution, resolution)
    return data.images[0]


def colour_at(image: Tensor, row: int, column: int) -> list[int]:
    return image[:, row, column].tolist()


def assert_colour(image: Tensor, row: int, column: int, expected: tuple[int, ...], tolerance: int = 3):
    torch.testing.assert_close(image[:, row, column], torch.tensor(expected).byte(), atol=tolerance, rtol=0)


def break_file(path: Path):
    path.write_bytes(b"this is no image")


def test_images_come_in_the_order_of_their_paths_from_subfolders_too(tmp_path: Path):
    for index, name in enumerate(["a.png", "b/c.PNG", "b/d/e.JpEg", "b/f.bmp", "g.gif", "h.tiff", "i.webp"]):
        file = tmp_path / "set" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 30 * index).save(file)
    (tmp_path / "set" / "notes.txt").write_text("not an image, and not called one")

    data = read_folder(tmp_path / "set", resolution=8, channels=1)
    assert data.images[:, 0, 4, 4].tolist() == [0, 30, 60, 90, 120, 150, 180]
    assert (data.name, data.split, data.labels) == ("folder:set", "train", None)


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path):
    Image.new("RGB", (8, 8), RED).save(tmp_path / "seen.png")
    break_file(tmp_path / "._seen.png")
    (tmp_path / ".thumbnails").mkdir()
    break_file(tmp_path / ".thumbnails" / "seen.png")
    read_one(tmp_path, resolution=8)


def test_exif_rotation_is_honoured(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: the left half comes to lie on top
    halves(RED, BLUE).save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    image = read_one(tmp_path)
    assert_colour(image, 4, 16, RED)
    assert_colour(image, 27, 16, BLUE)


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path):
    halves((0, 255, 255, 0), (255, 255, 0, 0), mode="CMYK").save(tmp_path / "a.jpg", quality=100)
    image = read_one(tmp_path)
    assert_colour(image, 16, 4, RED, tolerance=6)
    assert_colour(image, 16, 27, BLUE, tolerance=6)


def test_grey_is_repeated_over_three_channels(tmp_path: Path):
    halves((40,), (200,), mode="L").save(tmp_path / "a.png")
    image = read_one(tmp_path)
    assert colour_at(image, 16, 4) == [40, 40, 40]
    assert colour_at(image, 16, 27) == [200, 200, 200]


def test_rgb_becomes_luma_for_one_channel(tmp_path: Path):
    halves(RED, GREEN).save(tmp_path / "a.png")
    image = read_one(tmp_path, channels=1)
    assert colour_at(image, 16, 4) == [76]  # 0.299 * 255
    assert colour_at(image, 16, 27) == [150]  # 0.587 * 255


def test_one_bit_images_are_black_and_white(tmp_path: Path):
    halves((0,), (1,), mode="1").save(tmp_path / "a.png")
    image = read_one(tmp_path)
    assert colour_at(image, 16, 4) == [0, 0, 0]
    assert colour_at(image, 16, 27) == [255, 255, 255]


def test_transparent_palette_colour_becomes_white(tmp_path: Path):
    image = Image.new("P", (32, 32), 0)
    image.putpalette([*RED, *BLUE])
    image.paste(1, (16, 0, 32, 32))
    image.save(tmp_path / "a.png", transparency=0)
    read = read_one(tmp_path)
    assert colour_at(read, 16, 4) == list(WHITE)
    assert colour_at(read, 16, 27) == list(BLUE)


def test_palette_of_several_transparencies_is_read(tmp_path: Path):
    image = Image.new("P", (32, 32), 0)
    image.putpalette([*RED, *BLUE])
    image.paste(1, (16, 0, 32, 32))
    image.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    read = read_one(tmp_path)
    assert colour_at(read, 16, 4) == list(WHITE)
    assert_colour(read, 16, 27, (127, 127, 255), tolerance=1)


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (0, 0, 255, 128)), ("LA", (0, 128))])
def test_alpha_is_laid_over_white(tmp_path: Path, mode: str, colour: tuple[int, ...]):
    clear = (0,) * len(colour)
    halves(clear, colour, mode).save(tmp_path / "a.png")
    image = read_one(tmp_path)
    assert colour_at(image, 16, 4) == list(WHITE)
    assert_colour(image, 16, 27, (127, 127, 255) if mode == "RGBA" else (127, 127, 127), tolerance=1)


@pytest.mark.parametrize("kind", ["16.png", "16.tif", "32.tif"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path, kind: str):
    levels = np.repeat(np.arange(256, dtype=np.uint16) * 257, 256).reshape(256, 256)
    Image.fromarray(levels if kind.startswith("16") else levels.astype(np.int32)).save(tmp_path / f"a{kind}")
    image = read_one(tmp_path, resolution=256, channels=1)
    assert torch.equal(image[0, :, 0], torch.arange(256).byte())


def test_floating_point_pixels_are_refused_with_the_reason(tmp_path: Path):
    Image.new("F", (8, 8), 0.5).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif cannot be read: floating-point pixels"):
        read_folder(tmp_path, resolution=8)


def test_grey_levels_beyond_sixteen_bits_are_refused(tmp_path: Path):
    Image.new("I", (8, 8), 70_000).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"grey levels outside 0\.\.65535"):
        read_folder(tmp_path, resolution=8)


@pytest.mark.parametrize("size", [(96, 32), (32, 96)])
def test_centre_of_an_oblong_image_is_kept(tmp_path: Path, size: tuple[int, int]):
    image = Image.new("RGB", size, RED)
    left, top = (size[0] - 32) // 2, (size[1] - 32) // 2
    image.paste(halves(GREEN, BLUE), (left, top))
    image.save(tmp_path / "a.png")
    assert torch.equal(read_one(tmp_path), torch.from_numpy(np.array(halves(GREEN, BLUE))).permute(2, 0, 1))


def test_shrinking_averages(tmp_path: Path):
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "a.png")
    inner = read_one(tmp_path, resolution=8, channels=1)[0, 2:-2, 2:-2]
    torch.testing.assert_close(inner, torch.full_like(inner, 128), atol=2, rtol=0)


def make_truncated_jpeg(path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-1000])


def make_bomb(path: Path):
    """A PNG whose header promises 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))))


BROKEN = {
    "truncated.jpg": (make_truncated_jpeg, "truncated"),
    "text.png": (break_file, "cannot identify image file"),
    "bomb.png": (make_bomb, "decompression bomb"),
    "empty.webp": (Path.touch, "cannot identify image file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_file_is_named_with_reason(tmp_path: Path, name: str):
    make, reason = BROKEN[name]
    make(tmp_path / name)
    with pytest.raises(UnreadableImageError) as caught:
        read_folder(tmp_path, resolution=8)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / name} cannot be read: ")
    assert reason in message
    assert "\n" not in message


def test_broken_files_are_skipped_on_demand_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name, (make, _) in BROKEN.items():
        make(tmp_path / name)
    for index in range(5):
        Image.new("L", (8, 8), index).save(tmp_path / f"{index}.png")
        Image.new("L", (8, 8), 100 + index).save(tmp_path / f"z{index}.png")

    data = read_folder(tmp_path, resolution=8, channels=1, skip_broken=True)
    assert data.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]
    captured = capsys.readouterr()
    assert captured.out == ""
    start = f"skipped 4 of 14 files that could not be read, first: {tmp_path / 'bomb.png'} ("
    assert captured.err.startswith(start)
    assert captured.err.endswith(")\n")
    assert captured.err.count("\n") == 1


def test_whole_folder_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    read_folder(tmp_path, resolution=8, skip_broken=True)
    assert capsys.readouterr() == ("", "")


def test_folder_of_nothing_but_broken_files_is_the_users_error(tmp_path: Path):
    break_file(tmp_path / "a.png")
    with pytest.raises(UserError, match="nothing but 1 of 1 files that could not be read"):
        read_folder(tmp_path, resolution=8, skip_broken=True)


def test_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"folder .*/absent cannot be read: No such file"):
        read_folder(tmp_path / "absent", resolution=8)


def test_folder_without_images_says_what_was_looked_for(tmp_path: Path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=r"has no image; looked for \.png, \.jpg, .*\.tiff"):
        read_folder(tmp_path, resolution=8)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_subfolder_without_permission_is_named(tmp_path: Path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    try:
        with pytest.raises(UserError, match=r"folder .*/locked cannot be read: Permission denied"):
            read_folder(tmp_path, resolution=8)
    finally:
        locked.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_named(tmp_path: Path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(UserError, match=r"a\.png cannot be read: .*Permission denied"):
        read_folder(tmp_path, resolution=8)
