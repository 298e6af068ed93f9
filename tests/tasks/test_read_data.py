from pathlib import Path

import pytest

from ganmix.config.common import FolderData
from ganmix.errors import UserError
from ganmix.tasks.data import read_data


def test_broken_file_of_a_folder_is_named_with_the_key_that_skips_it(tmp_path: Path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError) as caught:
        read_data(FolderData(name="folder", path=str(tmp_path), resolution=8), "train")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'text.png'} cannot be read: ")
    assert message.endswith("; data.skip_broken=true skips such files")
