from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import decode, encode, new_uuid7


@given(st.uuids(), st.sampled_from(["prod", "var", "cart", "order", "user", "a_b"]))
def test_an_id_reads_back(value: UUID, prefix: str) -> None:
    text = encode(prefix, value)
    assert len(text) == len(prefix) + 27
    assert decode(prefix, text) == value


@given(st.uuids(), st.uuids())
def test_texts_sort_as_their_ids_do(first: UUID, second: UUID) -> None:
    assert (encode("x", first) < encode("x", second)) == (first < second)


def test_the_specifications_own_examples() -> None:
    assert encode("prefix", UUID("01890a5d-ac96-774b-bcce-b302099a8057")) == (
        "prefix_01h455vb4pex5vsknk084sn02q"
    )
    assert encode("x", UUID(int=0)) == "x_" + "0" * 26
    assert encode("x", UUID(int=2**128 - 1)) == "x_7" + "z" * 25


@pytest.mark.parametrize(
    "text",
    [
        "",
        "_",
        "order_",
        "order_01h455vb4pex5vsknk084sn02",
        "order_01h455vb4pex5vsknk084sn02qq",
        "order_01H455VB4PEX5VSKNK084SN02Q",
        "order_01h455vb4pex5vsknk084sn02u",
        "order_8zzzzzzzzzzzzzzzzzzzzzzzzz",
        "order_01h455vb4pex5vsknk084sn0\u0662q",
        "order_01h455vb4pex5vsknk084sn02\x00",
        "prod_01h455vb4pex5vsknk084sn02q",
        "01h455vb4pex5vsknk084sn02q",
        "order_" + "z" * 10_000,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"id of the form|altered") as error:
        decode("order", text)
    assert len(str(error.value)) < 300


@given(st.text(max_size=60))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    try:
        value = decode("order", text)
    except ValueError:
        return
    assert encode("order", value) == text


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=16))
def test_uuid7_carries_its_time(unix_ms: int, random_bytes: bytes) -> None:
    value = new_uuid7(unix_ms, random_bytes)
    assert value.version == 7
    assert value.variant == "specified in RFC 4122"
    assert value.int >> 80 == unix_ms
