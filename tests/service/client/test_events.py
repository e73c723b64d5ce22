"""Server-sent events are read as the standard says, however their bytes are cut."""

import pytest

from service.client.events import Frames, PreviewEvent, job_event

STREAM = (
    b"\xef\xbb\xbf: keep-alive\r\revent: progress\ndata: {}\nid: 1-1\n\n"
    b"event:status\r\ndata:  two\r\ndata\r\ndata: lines\r\nid: 1\x002\r\nretry: 5\r\n\r\n"
    b"event: x\rdata: \xe2\x80\xa8\rid\r\rdata: \xff\n\ndata: cut"
)
FRAMES = [
    ("", "", ""),
    ("progress", "{}", "1-1"),
    ("status", " two\n\nlines", "1-1"),
    ("x", "\u2028", ""),
    ("", "\ufffd", ""),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_frames_are_the_same_however_they_are_cut(size: int) -> None:
    frames = Frames()
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [frame for piece in pieces for frame in frames.read(piece)] == FRAMES


def test_frames_of_a_kind_to_come_are_passed_over() -> None:
    assert job_event("later", "nonsense", "1-1") is None
    assert job_event("progress", "", "1-1") is None


@pytest.mark.parametrize("data", ["[]", "1", "null", "{}", '{"attempt": 1}', "[" * 5000, "{"])
def test_what_is_no_event_is_refused(data: str) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError, KeyError)):
        job_event("progress", data, "1-1")


def test_a_preview_has_its_bytes_and_its_id() -> None:
    data = '{"job": "x", "image": 1, "step": 2, "content_type": "image/webp", "data": "YQ=="'
    event = job_event("preview", data + ', "attempt": 3}', "")
    assert isinstance(event, PreviewEvent)
    assert (event.image, event.data, event.attempt, event.id) == (1, b"a", 3, None)
    assert event.model_extra == {}
