from __future__ import annotations

import struct
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeful.proxy.websocket import GOING_AWAY, Frames


def frame(payload: bytes, masked: bool = False, opcode: int = 2, form: int = 0) -> bytes:
    """As RFC 6455 §5.2 draws it; ``form`` 126 or 127 takes a longer length than is needed."""
    mask = 0x80 if masked else 0
    size = len(payload)
    if size > 65535 or form == 127:
        length = bytes([mask | 127]) + struct.pack(">Q", size)
    elif size > 125 or form == 126:
        length = bytes([mask | 126]) + struct.pack(">H", size)
    else:
        length = bytes([mask | size])
    return bytes([0x80 | opcode]) + length + (b"\x01\x02\x03\x04" if masked else b"") + payload


frames = st.builds(
    frame,
    st.sampled_from([0, 1, 125, 126, 127, 300, 65535, 65536]).map(bytes),
    masked=st.booleans(),
    form=st.sampled_from([0, 126, 127]),
)


@given(st.lists(frames, max_size=5), st.lists(st.integers(0, 70_000), max_size=12))
def test_every_end_of_a_frame_is_found_however_the_bytes_are_cut(
    sent: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(sent)
    ends = list(accumulate(map(len, sent)))
    places = sorted({cut for cut in cuts if cut < len(stream)} | {0, len(stream)})
    follow = Frames()
    for start, end in pairwise(places):
        inside = [at for at in ends if start < at <= end]
        assert follow.feed(stream[start:end]) == (inside[0] - start if inside else 0)
        assert follow.between == (end in ends)


def test_before_the_first_byte_it_stands_between_two_frames() -> None:
    assert Frames().between
    assert Frames().feed(b"") == 0


@pytest.mark.parametrize("size", range(1, 14))
def test_a_head_in_two_pieces_is_one_head(size: int) -> None:
    whole = frame(b"payload", masked=True, form=127)
    follow = Frames()
    assert follow.feed(whole[:size]) == 0
    assert not follow.between
    assert follow.feed(whole[size:]) == len(whole) - size
    assert follow.between


def test_the_goodbye_is_a_close_frame_with_going_away() -> None:
    # RFC 6455 §5.5: FIN and opcode 8; §7.4.1: 1001; a server does not mask.
    assert frame(struct.pack(">H", 1001), opcode=8) == GOING_AWAY
