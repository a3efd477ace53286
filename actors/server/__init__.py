"""The HTTP edge: the application, its settings, and a task that serves it. Names only."""

from actors.server.app import Application
from actors.server.listen import CannotListen, bind, serve, url_of
from actors.server.settings import ServerSettings

__all__ = ["Application", "CannotListen", "ServerSettings", "bind", "serve", "url_of"]
