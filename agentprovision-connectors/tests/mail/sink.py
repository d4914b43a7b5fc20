"""A mail server by aiosmtpd that asks for STARTTLS and a password, and says what it read as one line of JSON a message.

Its argument is a file with a certificate and its key; the first line that it says is its port.
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Sink:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        parts = [part for part in message.walk() if not part.is_multipart()]
        read = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": {name: str(value) for name, value in message.items()},
            "defects": [repr(defect) for part in message.walk() for defect in part.defects],
            "parts": [[part.get_content_type(), part.get_filename(), body(part)] for part in parts],
        }
        print(json.dumps(read), flush=True)
        return "250 2.0.0 kept"


def body(part):
    content = part.get_content()
    return content if isinstance(content, str) else content.hex()


def authenticate(server, session, envelope, mechanism, data):
    expected = LoginPassword(b"desk@example.com", b"canary-password")
    return AuthResult(success=data == expected, handled=False)


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[1])
    options = dict(require_starttls=True, tls_context=context, auth_required=True, authenticator=authenticate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Sink(), hostname="sink.example", **options), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
