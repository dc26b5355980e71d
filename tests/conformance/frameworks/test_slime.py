"""slime's remote reward, by its requests alone: no index has a package of slime.

The golden file holds what `rm_hub.remote_rm` of slime 0.3.1 was seen to send, with this suite's samples.
"""

import httpx

from tests.conformance.frameworks.samples import MATH, direct, samples
from tests.conformance.frameworks.wire import golden, replay


def test_what_slime_sends_gets_the_verifier_s_scores_under_its_reward_key(service_url: str) -> None:
    requests = golden("slime_remote_rm")
    with httpx.Client(base_url=service_url, timeout=300) as client:
        replies = [replay(request, client).json() for request in requests]
    assert [reply["score"] for reply in replies] == direct(service_url, samples(12))
    assert {reply["verifier"].partition("@")[0] for reply in replies} == {MATH}
