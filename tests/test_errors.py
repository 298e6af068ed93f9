import pytest

from ganmix.errors import UserError, naming


@pytest.mark.parametrize("error", [ValueError("one\ntwo"), UserError(["one", "two"])])
def test_each_problem_of_a_lower_layer_gets_the_key(error: Exception):
    with pytest.raises(UserError) as raised, naming("data.root"):
        raise error
    assert raised.value.problems == ["data.root: one", "data.root: two"]


def test_other_errors_are_our_own_mistakes():
    with pytest.raises(TypeError, match="ours"), naming("data.root"):
        raise TypeError("ours")
