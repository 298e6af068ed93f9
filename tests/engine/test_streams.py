import pytest
import torch

from ganmix.engine.streams import restore


def draws(generator: torch.Generator) -> list[int]:
    return torch.randint(2**31, (4,), generator=generator).tolist()


def test_stream_goes_on_where_it_was_saved(capsys):
    generator = torch.Generator().manual_seed(3)
    draws(generator)
    state = generator.get_state()
    other = torch.Generator()
    restore(other, state)
    assert draws(other) == draws(generator)
    assert capsys.readouterr().err == ""


def test_state_of_another_kind_of_device_is_a_seed_and_is_said_so_in_a_line(capsys):
    # A CUDA generator's state: its seed and offset, 8 bytes each.
    states = [torch.tensor([seed, *[0] * 15], dtype=torch.uint8) for seed in (1, 1, 2)]
    drawn = []
    for state in states:
        generator = torch.Generator().manual_seed(len(drawn))
        restore(generator, state)
        drawn.append(draws(generator))
    assert drawn[0] == drawn[1] != drawn[2]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("note: a random stream was saved on another kind of device than cpu; ")


@pytest.mark.parametrize("first_byte", [0, 255])
def test_every_state_makes_a_seed_that_torch_takes(first_byte: int):
    for second in range(50):
        restore(torch.Generator(), torch.tensor([first_byte, second, *[0] * 14], dtype=torch.uint8))


def test_state_of_no_stream_is_refused():
    with pytest.raises(ValueError, match=r"5056 or 16 bytes, got 3$"):
        restore(torch.Generator(), torch.zeros(3, dtype=torch.uint8))
