"""Who is told: a webhook's server and a mail server, both on loopback."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer


class Hook(BaseHTTPRequestHandler):
    """Takes webhooks; the first try of each delivery is turned away."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        delivery = self.headers["X-Reprofix-Delivery"]
        first = delivery not in self.server.seen
        self.server.seen.add(delivery)
        self.send_response(503 if first else 204)
        self.end_headers()
        if not first:
            self.server.messages.append((self.headers["X-Reprofix-Signature"], body))

    def log_message(self, *_):
        pass


def webhook():
    """A server whose `messages` are pairs of signature and body; its port is server_port."""
    server = HTTPServer(("127.0.0.1", 0), Hook)
    server.seen, server.messages = set(), []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Mailbox:
    """A mail server; `mails` are pairs of recipients and text."""

    def __init__(self, folder):
        from aiosmtpd.controller import Controller

        self.mails = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.server = Controller(self, hostname="127.0.0.1", port=port)
        self.server.start()
        settings = folder / "msmtprc"
        settings.write_text(
            f"account default\nhost 127.0.0.1\nport {port}\nfrom nightly@example.org\n"
            "tls off\nauth off\n"
        )
        settings.chmod(0o600)

    async def handle_DATA(self, _server, _session, envelope):
        self.mails.append((envelope.rcpt_tos, envelope.content))
        return "250 taken"

    def stop(self):
        self.server.stop()
