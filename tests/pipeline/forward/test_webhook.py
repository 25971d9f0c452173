"""The webhook against a real HTTP server that checks what it gets and fails in every way."""

import hashlib
import hmac
import json
import re
import socket
import threading
from pathlib import Path

import pytest

from tachograph.pipeline.errors import Refused, RetryLater
from tachograph.pipeline.forward.destination import Busy, Doubtful, Outgoing, Secret
from tachograph.pipeline.forward.destinations._http import MAX_RETRY_AFTER_S
from tachograph.pipeline.forward.destinations.webhook import Options, Webhook
from tachograph.pipeline.forward.formats import ocsf
from tests.pipeline.forward import alerts
from tests.pipeline.forward.receivers import WebhookReceiver

SECRET = "a secret of at least 16 bytes"
AT_S = 1_795_370_400


def outgoing(number: int = 1) -> Outgoing:
    alert = alerts.alert(number)
    return Outgoing(f"{alert.alert_id}:{alert.revision}", ocsf.render(alert), ocsf.CONTENT_TYPE)


def hook(url: str, **options: object) -> Webhook:
    made = Options(url=url, **{"deadline_s": 60.0, **options})  # type: ignore[arg-type]
    return Webhook(made, Secret(SECRET), clock=lambda: AT_S * 1_000_000)


def test_a_receiver_can_check_who_sent_what_and_when(webhook: WebhookReceiver) -> None:
    destination = hook(webhook.url)
    destination.deliver([outgoing(1), outgoing(2)])
    destination.close()
    assert webhook.deliveries() == [f"{1:032x}:1", f"{2:032x}:2"]
    for request in webhook.requests:
        match = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", request.headers["tacho-signature"])
        assert match is not None
        signed = match[1].encode() + b"." + request.body
        expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(match[2], expected)
        assert match[1] == str(AT_S)
        assert request.headers["content-type"] == "application/json"
        assert request.path == "/hook"
    assert json.loads(webhook.requests[0].body)["metadata"]["uid"] == f"{1:032x}:1"


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_an_acknowledgement(webhook: WebhookReceiver, status: int) -> None:
    webhook.answers = [(status, {})]
    destination = hook(webhook.url)
    assert str(status) in destination.deliver([outgoing()])
    destination.close()


@pytest.mark.parametrize("status", [401, 407, 408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_or_be_mended_is_tried_again(webhook: WebhookReceiver, status: int) -> None:
    webhook.answers = [(status, {})]
    destination = hook(webhook.url)
    with pytest.raises(RetryLater, match=str(status)) as told:
        destination.deliver([outgoing()])
    destination.close()
    assert not isinstance(told.value, Doubtful)


@pytest.mark.parametrize("status", [403, 404, 405, 406, 410, 415, 418, 451])
def test_what_may_be_the_alerts_fault_or_the_addresss_is_in_doubt(
    webhook: WebhookReceiver, status: int
) -> None:
    webhook.answers = [(status, {})]
    destination = hook(webhook.url)
    with pytest.raises(Doubtful, match=f"said {status}"):
        destination.deliver([outgoing()])
    destination.close()


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_what_never_passes_is_refused_with_the_answer(
    webhook: WebhookReceiver, status: int
) -> None:
    webhook.answers = [(status, {})]
    destination = hook(webhook.url)
    with pytest.raises(Refused, match=f"said {status}"):
        destination.deliver([outgoing()])
    destination.close()


@pytest.mark.parametrize(
    ("header", "after_s"),
    [("7", 7.0), ("999999999", MAX_RETRY_AFTER_S), ("Sun, 22 Nov 2026 18:00:09 GMT", 9.0)],
)
def test_retry_after_is_honoured_within_bounds(
    webhook: WebhookReceiver, header: str, after_s: float
) -> None:
    webhook.answers = [(429, {"retry-after": header})]
    destination = hook(webhook.url)
    with pytest.raises(Busy) as busy:
        destination.deliver([outgoing()])
    destination.close()
    assert busy.value.after_s == after_s


@pytest.mark.parametrize("header", ["soon", "-1", "Mon, 01 Jan 99999999999 00:00:00 GMT", "\u00b2"])
def test_a_retry_after_that_says_no_time_is_passed_over(
    webhook: WebhookReceiver, header: str
) -> None:
    webhook.answers = [(429, {"retry-after": header})]
    destination = hook(webhook.url)
    with pytest.raises(RetryLater) as told:
        destination.deliver([outgoing()])
    destination.close()
    assert not isinstance(told.value, Busy)


def test_a_redirect_waits_for_another_address_and_is_not_followed(webhook: WebhookReceiver) -> None:
    elsewhere = WebhookReceiver()
    webhook.answers = [(307, {"location": elsewhere.url})]
    destination = hook(webhook.url)
    with pytest.raises(RetryLater, match="redirects are not followed"):
        destination.deliver([outgoing()])
    destination.close()
    elsewhere.close()
    assert elsewhere.requests == []


def test_a_receiver_that_never_answers_is_tried_again_at_the_deadline(
    webhook: WebhookReceiver,
) -> None:
    webhook.answers = [None]
    destination = hook(webhook.url, deadline_s=0.3)
    with pytest.raises(RetryLater, match=r"no answer within 0\.3 s"):
        destination.deliver([outgoing()])
    webhook.released.set()
    destination.close()
    # Another, for what is answered may take longer than that here.
    patient = hook(webhook.url)
    patient.deliver([outgoing()])
    patient.close()
    assert webhook.deliveries() == [f"{1:032x}:1"] * 2


def test_an_answer_that_drips_does_not_outlive_the_deadline() -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
            try:
                while not stop.wait(0.02):
                    connection.sendall(b"a")
            except OSError:
                pass
            connection.close()

        thread = threading.Thread(target=drip)
        thread.start()
        destination = hook(f"http://127.0.0.1:{server.getsockname()[1]}/", deadline_s=0.5)
        with pytest.raises(RetryLater):
            destination.deliver([outgoing()])
        stop.set()
        thread.join()
        destination.close()


def test_an_endless_answer_is_read_no_further_than_needed(webhook: WebhookReceiver) -> None:
    webhook.answers = [(200, {"x-note": "a" * 1000})]
    destination = hook(webhook.url)
    assert len(destination.deliver([outgoing()])) < 300
    destination.close()


def test_only_a_receiver_that_the_ca_vouches_for_gets_anything(
    certificates: dict[str, Path],
) -> None:
    receiver = WebhookReceiver(tls=certificates)
    stranger = hook(receiver.url)
    with pytest.raises(RetryLater, match="CERTIFICATE_VERIFY_FAILED"):
        stranger.deliver([outgoing()])
    stranger.close()
    known = hook(receiver.url, ca_file=str(certificates["ca"]))
    known.deliver([outgoing()])
    known.close()
    receiver.close()
    assert len(receiver.requests) == 1


def test_nobody_listening_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
    destination = hook(url)
    with pytest.raises(RetryLater):
        destination.deliver([outgoing()])
    destination.close()


def test_hostile_alerts_never_reach_the_address_or_the_headers(webhook: WebhookReceiver) -> None:
    destination = hook(webhook.url)
    for text in alerts.HOSTILE.values():
        alert = alerts.hostile(text)
        destination.deliver([Outgoing(f"{alert.alert_id}:1", ocsf.render(alert), "text/plain")])
    destination.close()
    assert {request.path for request in webhook.requests} == {"/hook"}
    assert {len(request.headers) for request in webhook.requests} == {
        len(webhook.requests[0].headers)
    }


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://siem.example/", "no http or https address"),
        ("siem.example/hook", "no http or https address"),
        ("http://siem.example/hook", "plain http to another host"),
        ("https://user:pass@siem.example/", "credentials do not belong into the URL"),
    ],
)
def test_an_address_that_is_unsafe_is_named(url: str, problem: str) -> None:
    assert any(problem in found for found in Options(url=url).problems(Secret(SECRET)))


def test_a_webhook_needs_a_secret_of_some_length() -> None:
    options = Options(url="https://siem.example/")
    assert any("secret_env" in found for found in options.problems(None))
    assert any("16 bytes" in found for found in options.problems(Secret("short")))
    assert options.problems(Secret(SECRET)) == []
    assert Options(url="https://siem.example/", unsigned=True).problems(None) == []
