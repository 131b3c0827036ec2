"""Serve optuna-dashboard on a study's storage."""

from __future__ import annotations

from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage
from optuna_dashboard import wsgi

from metagd_optuna.contracts import MetaGDError


def dashboard_server(storage: BaseStorage, *, host: str, port: int, artifacts: Path | None) -> WSGIServer:
    """Return a server of optuna-dashboard that is bound to its address; ``serve_forever`` runs it.

    Args:
        storage: finished, running or brand-new.
        host: address to listen on. Whoever reaches it can change and delete studies: there is no login.
        port: port to listen on; 0 picks a free one, which ``server_port`` then tells.
        artifacts: folder of the study's artifacts, or None.

    Raises:
        MetaGDError: the address cannot be listened on.
    """
    store = FileSystemArtifactStore(artifacts) if artifacts else None
    application = wsgi(storage, artifact_store=store)
    try:
        return make_server(host, port, application, server_class=_ThreadedServer, handler_class=_QuietHandler)
    except OSError as error:
        raise MetaGDError(
            f"the dashboard cannot listen on {host}, port {port}: {error.strerror}; name another port with "
            "--port (0 picks a free one) or another address with --host"
        ) from error


class _ThreadedServer(ThreadingMixIn, WSGIServer):
    """Answers several requests at once, and does not keep the process alive for a slow one."""

    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    """Prints no line per request."""

    def log_message(self, format: str, *args: object) -> None:
        """Drop the line that would be printed for a request."""
