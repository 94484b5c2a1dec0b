"""The extender's identity at the API server: address, TLS and the Authorization header, kept fresh.

Kubeconfig files and in-cluster service accounts are read by kubernetes_asyncio. Nothing else of it
is used, and it is imported only when credentials are loaded. Tokens rotate (a mounted one about
hourly), so they are read again every minute, and at once when the API server answers 401.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

REREAD_AFTER_S: Final = 60.0


_log = logging.getLogger(__name__)


class CredentialsError(Exception):
    """No usable credentials; the text says where they were looked for."""


class Credentials:
    """Address and authority for one API server. Tokens and keys never show in `repr` or in errors.

    `load` fills a kubernetes_asyncio `Configuration`; it is called again whenever the token may have
    changed.
    """

    def __init__(
        self,
        configuration: Any,
        load: Callable[[], Awaitable[None]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configuration = configuration
        self._load = load
        self._monotonic = monotonic
        self._read_s = monotonic()
        self._reading = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Credentials(host={self.host!r})"

    @property
    def host(self) -> str:
        """Base URL of the API server, without a slash at its end."""
        return str(self._configuration.host).rstrip("/")

    @property
    def proxy(self) -> str | None:
        """Proxy to reach the API server through, from the kubeconfig's `proxy-url`."""
        return self._configuration.proxy

    @property
    def server_hostname(self) -> str | None:
        """Name the server's certificate must carry when it is not the host of the URL."""
        return self._configuration.tls_server_name

    def ssl_context(self) -> ssl.SSLContext | None:
        """TLS for https: the cluster's CA, our client certificate; None for plain http."""
        if not self.host.startswith("https"):
            return None
        configuration = self._configuration
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
        if not configuration.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        # Cluster CAs made by kubeadm and others lack extensions that strict checking asks for.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    async def authorization(self, *, refused: str | None = None) -> str | None:
        """The Authorization header to send; None when certificates alone tell who we are.

        `refused` is a header the API server answered 401 to: unless a newer one is known, the token
        is read again even if its minute is not over.
        """
        stale = self._monotonic() - self._read_s >= REREAD_AFTER_S
        if stale or (refused is not None and refused == self._header()):
            async with self._reading:
                if self._monotonic() - self._read_s >= REREAD_AFTER_S or refused == self._header():
                    await self._read_again()
        return self._header()

    async def _read_again(self) -> None:
        # The present token may still work; if not, the API server's 401 will say so.
        try:
            await self._load()
        except Exception as problem:
            # The text of a failed credential plugin can hold secrets; its kind cannot.
            _log.warning(
                "credentials could not be read again (%s), going on with the old ones", type(problem).__name__
            )
        self._read_s = self._monotonic()

    def _header(self) -> str | None:
        header = self._configuration.api_key.get("BearerToken")
        return header.strip() if header else None


async def from_kubeconfig(path: Path | str | None = None, context: str | None = None) -> Credentials:
    """Credentials of a kubeconfig file (None: where kubectl looks), of its current or a named context.

    Raises:
        CredentialsError: the file is missing or unusable.
    """
    from kubernetes_asyncio.client import Configuration
    from kubernetes_asyncio.config import ConfigException
    from kubernetes_asyncio.config.kube_config import (
        KUBE_CONFIG_DEFAULT_LOCATION,
        KubeConfigLoader,
        KubeConfigMerger,
    )
    from yaml import YAMLError

    location = str(path) if path is not None else KUBE_CONFIG_DEFAULT_LOCATION
    configuration = Configuration()
    try:
        merged = KubeConfigMerger(location).config
        if merged is None:
            raise CredentialsError(f"no kubeconfig at {location}: name one with --kubeconfig or KUBECONFIG")
        loader = KubeConfigLoader(config_dict=merged, active_context=context, config_base_path=None)
        await loader.load_and_set(configuration)
    except (ConfigException, OSError, ValueError, AttributeError, TypeError, YAMLError) as problem:
        raise CredentialsError(f"kubeconfig {location} cannot be used: {problem}") from None

    # The same loader again: it re-reads token files and runs an exec plugin only when its token expires.
    async def load() -> None:
        await loader.load_and_set(configuration)

    return Credentials(configuration, load)


async def in_cluster(token_file: Path | str | None = None, ca_file: Path | str | None = None) -> Credentials:
    """Credentials of the pod we run in: its mounted service account.

    Raises:
        CredentialsError: this is not a pod, or it has no service account token.
    """
    from kubernetes_asyncio import config as library
    from kubernetes_asyncio.client import Configuration

    files: dict[str, Any] = {}
    if token_file is not None:
        files["token_filename"] = str(token_file)
    if ca_file is not None:
        files["cert_filename"] = str(ca_file)
    configuration = Configuration()

    async def load() -> None:
        library.load_incluster_config(configuration, try_refresh_token=False, **files)

    try:
        await load()
    except (library.ConfigException, OSError) as problem:
        raise CredentialsError(
            f"no in-cluster credentials: {problem} Run in a pod with a service account, or name a kubeconfig."
        ) from None
    return Credentials(configuration, load)


async def anonymous(host: str) -> Credentials:
    """No authority at all, for an API server that asks for none (`kubectl proxy`, an embedded one)."""
    from types import SimpleNamespace

    async def load() -> None:
        return None

    configuration = SimpleNamespace(host=host, proxy=None, tls_server_name=None, ssl_ca_cert=None, api_key={})
    configuration.cert_file = configuration.key_file = None
    configuration.verify_ssl = True
    return Credentials(configuration, load)
