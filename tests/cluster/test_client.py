"""Credentials and plain HTTP: who we are, what goes wrong, what is never told."""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from aiohttp import web

from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.adapters.kubernetes.credentials import (
    REREAD_AFTER_S,
    Credentials,
    CredentialsError,
    anonymous,
    from_kubeconfig,
    in_cluster,
)
from tests.cluster.apiserver import ApiServer, Object, answer, lose, never, pod, text

TOKEN = "s3cret-token"


def kubeconfig(path: Path, server: str, user: Object, cluster: Object | None = None) -> Path:
    path.write_text(
        json.dumps(
            {
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": server, **(cluster or {})}}],
                "users": [{"name": "u", "user": user}],
            }
        )
    )
    return path


async def test_a_refusal_carries_status_reason_and_message(server: ApiServer, client: ApiClient) -> None:
    with pytest.raises(ApiError, match='404 NotFound: pods "none" not found') as caught:
        await client.get("/api/v1/namespaces/ns/pods/none")
    assert (caught.value.status, caught.value.reason) == (404, "NotFound")
    assert not caught.value.outcome_unknown


async def test_a_refusal_that_is_no_status_is_told_too(server: ApiServer, client: ApiClient) -> None:
    async def gateway(*_: object) -> web.Response:
        return web.Response(status=502, text="<html>bad gateway</html>", headers={"Retry-After": "soon"})

    server.faults["list"].append(gateway)
    with pytest.raises(ApiError, match="502 Bad Gateway: <html>bad gateway") as caught:
        await client.get("/api/v1/pods")
    assert caught.value.outcome_unknown
    assert caught.value.retry_after_s is None


async def test_a_redirect_is_not_followed(server: ApiServer, client: ApiClient) -> None:
    server.faults["list"].append(answer(307, "Moved"))
    with pytest.raises(ApiError, match="307"):
        await client.get("/api/v1/pods")


async def test_a_lost_connection_is_an_unknown_outcome(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a"))
    server.faults["bind"].append(lose())
    with pytest.raises(ApiError, match="Unreachable") as caught:
        await client.post("/api/v1/namespaces/ns/pods/a/binding", b"{}")
    assert caught.value.outcome_unknown


async def test_a_server_that_never_answers_times_out(server: ApiServer, client: ApiClient) -> None:
    server.faults["list"].append(never())
    with pytest.raises(ApiError, match="Timeout") as caught:
        await client.get("/api/v1/pods", timeout_s=0.05)
    assert caught.value.status == 0


async def test_nobody_listening_is_unreachable() -> None:
    async with ApiServer() as server:
        url = server.url
    async with ApiClient(await anonymous(url)) as client:
        with pytest.raises(ApiError, match="no answer Unreachable"):
            await client.get("/api/v1/pods")


async def test_a_kubeconfig_with_a_token(server: ApiServer, tmp_path: Path) -> None:
    server.tokens = {f"Bearer {TOKEN}"}
    path = kubeconfig(tmp_path / "config", server.url, {"token": TOKEN})
    async with await ApiClient.from_kubeconfig(path) as client:
        assert b"items" in await client.get("/api/v1/pods")
        assert TOKEN not in repr(client)


async def test_a_token_that_expired_is_read_again_at_once(server: ApiServer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")
    server.tokens = {"Bearer old"}
    path = kubeconfig(tmp_path / "config", server.url, {"tokenFile": str(token)})
    async with ApiClient(await from_kubeconfig(path)) as client:
        await client.get("/api/v1/pods")
        token.write_text("new\n")
        server.tokens = {"Bearer new"}
        await client.get("/api/v1/pods")
        async with client.stream_lines("/api/v1/pods", {"watch": "1", "resourceVersion": "1"}, silence_s=5):
            pass
    assert server.count("list") == 3, "one 401 between the two answers"


async def test_a_token_is_read_again_after_its_minute(tmp_path: Path) -> None:
    token, now = tmp_path / "token", [0.0]
    token.write_text("old")
    loader = await from_kubeconfig(kubeconfig(tmp_path / "config", "http://x", {"tokenFile": str(token)}))
    made = Credentials(loader._configuration, loader._load, monotonic=lambda: now[0])
    token.write_text("new")
    assert await made.authorization() == "Bearer old"
    now[0] = REREAD_AFTER_S
    assert await made.authorization() == "Bearer new"
    token.unlink()
    now[0] *= 3
    assert await made.authorization() == "Bearer new", "the old one is better than none"


async def test_a_wrong_token_is_tried_once(server: ApiServer, tmp_path: Path) -> None:
    server.tokens = {"Bearer right"}
    async with await ApiClient.from_kubeconfig(
        kubeconfig(tmp_path / "c", server.url, {"token": TOKEN})
    ) as client:
        with pytest.raises(ApiError, match="401 Unauthorized") as caught:
            await client.get("/api/v1/pods")
    assert TOKEN not in str(caught.value)
    assert server.count("list") == 1


async def test_a_pods_own_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("t\n")
    (tmp_path / "ca.crt").write_text("ca")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    made = await in_cluster(tmp_path / "token", tmp_path / "ca.crt")
    assert made.host == "https://[fd00::1]:443"
    assert await made.authorization() == "Bearer t"
    (tmp_path / "token").write_text("t2\n")
    assert await made.authorization(refused="Bearer t") == "Bearer t2"


async def test_outside_a_pod_there_is_no_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(CredentialsError, match="name a kubeconfig"):
        await in_cluster()


NO_CONTEXT = '{"current-context": "x", "contexts": []}'


@pytest.mark.parametrize("content", [None, "", "not: [yaml", "{}", "[]", NO_CONTEXT])
async def test_an_unusable_kubeconfig_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CredentialsError, match=str(path)):
        await from_kubeconfig(path)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, its key beside it as `key.pem`."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    made = tmp_path / "cert.pem"
    options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(made)]
    command = ["openssl", "req", *options.split(), *files, "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return made


def in_base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


async def test_tls_with_the_clusters_ca_and_a_client_certificate(tmp_path: Path, certificate: Path) -> None:
    key = certificate.with_name("key.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate))
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    user = {"client-certificate-data": in_base64(certificate), "client-key-data": in_base64(key)}
    trusting = {"certificate-authority": str(certificate)}
    careless = {"insecure-skip-tls-verify": True}
    cases = [
        (user, trusting, ""),
        (user, careless, ""),
        (user, {}, "CERTIFICATE_VERIFY"),
        ({}, trusting, "Unreach"),
    ]
    async with ApiServer(tls=context) as server:
        for who, cluster, problem in cases:
            config = kubeconfig(tmp_path / "config", server.url, who, cluster)
            async with await ApiClient.from_kubeconfig(config) as client:
                if problem:
                    with pytest.raises(ApiError, match=problem):
                        await client.get("/api/v1/pods")
                else:
                    assert b"items" in await client.get("/api/v1/pods")


async def test_a_stream_that_ends_within_a_line_drops_that_line(server: ApiServer, client: ApiClient) -> None:
    server.faults["watch"].append(text(b"one\ntwo\nthr"))
    async with client.stream_lines("/api/v1/pods", {"watch": "1"}, silence_s=5) as lines:
        assert [line async for line in lines] == [b"one", b"two"]
