"""Requests become specs with every default filled in."""

import secrets

import pytest

from jobs.catalogue import resolve
from jobs.errors import InvalidRequest
from jobs.schema import MAX_DRAWN_SEED, MAX_SEED, JobRequest
from tests.jobs.examples import MODEL, spec


@pytest.mark.parametrize("num_images", [1, 2, 16])
def test_drawn_seeds_are_exact_in_javascript(
    monkeypatch: pytest.MonkeyPatch, num_images: int
) -> None:
    request = JobRequest(prompt="a red apple", num_images=num_images)
    seeds = [resolve(request, MODEL).seed for _ in range(50)]
    assert len(set(seeds)) == 50
    assert max(seeds) <= MAX_DRAWN_SEED == 2**32 - 1
    monkeypatch.setattr(secrets, "randbelow", lambda bound: bound - 1)
    assert resolve(request, MODEL).image_seed(num_images - 1) == MAX_DRAWN_SEED


@pytest.mark.parametrize("num_images", [1, 2, 16])
def test_a_clients_seeds_go_up_to_the_last_image(num_images: int) -> None:
    last = MAX_SEED - num_images + 1
    assert spec(seed=last, num_images=num_images).image_seed(num_images - 1) == MAX_SEED
    if num_images > 1:
        with pytest.raises(InvalidRequest, match=f"seed {MAX_SEED + 1}, above") as refused:
            spec(seed=last + 1, num_images=num_images)
        assert (refused.value.field, refused.value.others) == ("seed", ("num_images",))
