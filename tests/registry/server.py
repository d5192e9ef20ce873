"""A registry that goes wrong in the way that the repository's name says.

In: a folder with `blobs/` and `manifests/` by digest, where to log, and for TLS a certificate. Out: its
port on standard output; answers.

Source: OCI Distribution Specification 1.1; distribution/distribution, docs/content/spec/auth/token.md.
"""

import base64, hashlib, http.server, json, os, ssl, sys, threading, time
from urllib.parse import parse_qs, urlsplit

root, log_path = sys.argv[1], sys.argv[2]
log_lock = threading.Lock()
counts = {}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    sent = 0

    def log_message(self, *_):
        pass

    def note(self, **more):
        """Logs before anything is sent, so that who has an answer can read what was asked."""
        entry = {
            "method": self.command,
            "path": self.path,
            "host": self.headers.get("host"),
            "range": self.headers.get("range"),
            "if_range": self.headers.get("if-range"),
            "authorization": self.headers.get("authorization"),
            "sent": self.sent,
        }
        with log_lock, open(log_path, "a") as log:
            log.write(json.dumps({**entry, **more}) + "\n")

    def count(self, key):
        with log_lock:
            counts[key] = counts.get(key, 0) + 1
            return counts[key]

    def reply(self, status, body=b"", **headers):
        self.note(status=status)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        if self.path.startswith("/v2/"):
            return self.push()
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        form = parse_qs(body)
        if form.get("refresh_token") == ["refresh"] and form.get("grant_type") == ["refresh_token"]:
            return self.reply(200, json.dumps({"access_token": "good"}).encode())
        self.reply(400, b'{"error":"invalid_grant"}')

    def do_PUT(self):
        self.push()

    def do_HEAD(self):
        self.push()

    # Pushing: to `/v2/WAY/…`, or to `/put/…` where another host takes the bytes.

    def push(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        url = urlsplit(self.path)
        parts, query = url.path.split("/"), parse_qs(url.query)
        way, kind, name = parts[2], parts[3], parts[-1]
        if way == "token" and self.headers.get("authorization") != "Bearer pusher":
            realm = f'http://{self.headers.get("host")}/token'
            # As some do, whatever is asked.
            challenge = f'Bearer realm="{realm}",service="tests",scope="repository:{way}:pull"'
            return self.reply(401, b"{}", WWW_Authenticate=challenge)
        pushed = os.path.join(root, "pushed", name.replace("sha256:", ""))
        if self.command == "HEAD":
            if not os.path.exists(pushed):
                return self.reply(404)
            self.note(status=200)
            self.send_response(200)
            self.send_header("Content-Length", str(os.path.getsize(pushed)))
            return self.end_headers()
        if self.command == "POST":
            place = f"/v2/{way}/blobs/uploads/{self.count('upload')}?state=a"
            if way == "away":
                place = f'http://{self.headers.get("host").replace("localhost", "127.0.0.1")}/put/away/blobs/x'
            if way == "plain":
                place = f'http://{self.headers.get("host")}/put/plain/blobs/x'
            return self.reply(202, Location=place)
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        if way == "busy" and self.count(self.path.split("/uploads/")[0]) <= 2:
            return self.reply(503, b"", Retry_After="1")
        if way == "full":
            return self.reply(413, b'{"errors":[{"code":"SIZE_INVALID","message":"hunter2"}]}')
        if kind == "blobs" and query.get("digest") != [digest]:
            return self.reply(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
        os.makedirs(os.path.join(root, "pushed"), exist_ok=True)
        told = name if kind == "manifests" else digest.removeprefix("sha256:")
        with open(os.path.join(root, "pushed", told), "wb") as file:
            file.write(body)
        if way == "liar":
            digest = "sha256:" + "0" * 64
        self.reply(201, Docker_Content_Digest=digest)

    def do_GET(self):
        self.sent = 0
        try:
            self.answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self):
        url = urlsplit(self.path)
        if url.path == "/token":
            return self.token(parse_qs(url.query))
        parts = url.path.split("/")
        if parts[1] == "elsewhere":
            return self.content("blobs", parts[-1])
        if parts[1] != "v2" or len(parts) < 5:
            return self.reply(404)
        way, kind, name = parts[2], parts[-2], parts[-1]
        wrong = getattr(self, "on_" + way.replace("-", "_"), None)
        if wrong is not None and wrong(kind, name):
            return
        self.content(kind, name)

    def token(self, query):
        sent = self.headers.get("authorization")
        wanted = "Basic " + base64.b64encode(b"me:word").decode()
        if sent not in (None, wanted):
            return self.reply(401, b"{}")
        allowed = sent == wanted or "anonymous" in query.get("scope", [""])[0]
        token = "good" if allowed and query.get("service") == ["tests"] else "bad"
        if token == "good" and query["scope"] == ["repository:token:pull,push"]:
            token = "pusher"
        self.reply(200, json.dumps({"token": token, "expires_in": 60}).encode())

    def bytes_of(self, kind, name):
        path = os.path.join(root, kind, name.replace("sha256:", ""))
        with open(path, "rb") as file:
            return file.read()

    def content(self, kind, name, body=None, etag=None, limit=None, ranges=True):
        if body is None:
            body = self.bytes_of(kind, name)
        start, status = 0, 200
        asked = self.headers.get("range")
        fits = self.headers.get("if-range") in (None, etag)
        if asked and ranges and fits:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                return self.reply(416, Content_Range=f"bytes */{len(body)}")
            status = 206
        part = body[start:]
        self.sent = len(part[:limit])
        self.note(status=status)
        self.send_response(status)
        self.send_header("Content-Length", str(len(part)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if etag:
            self.send_header("ETag", etag)
        if kind == "manifests":
            self.send_header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
            self.send_header("Docker-Content-Digest", "sha256:" + hashlib.sha256(body).hexdigest())
        self.end_headers()
        self.wfile.write(part[:limit])
        self.wfile.flush()
        if limit is not None:
            self.close_connection = True

    # Repositories that want to know who asks.

    def on_token(self, kind, name):
        if self.headers.get("authorization") == "Bearer good":
            return False
        realm = f'http://{self.headers.get("host")}/token'
        scope = self.path.split("/v2/")[1].rsplit("/", 2)[0]
        challenge = f'Bearer realm="{realm}",service="tests",scope="repository:{scope}:pull"'
        self.reply(401, b"{}", WWW_Authenticate=challenge)
        return True

    on_anonymous = on_token

    def on_basic(self, kind, name):
        if self.headers.get("authorization") == "Basic " + base64.b64encode(b"me:word").decode():
            return False
        self.reply(401, b"{}", WWW_Authenticate='Basic realm="tests"')
        return True

    # Repositories whose blobs go wrong.

    def on_cut(self, kind, name):
        if kind == "blobs":
            self.content(kind, name, limit=3 << 20)
        return kind == "blobs"

    def on_whole(self, kind, name):
        if kind == "blobs":
            first = self.count(self.path) == 1
            self.content(kind, name, limit=3 << 20 if first else None, ranges=False)
        return kind == "blobs"

    def on_wrong(self, kind, name):
        if kind == "blobs":
            self.content(kind, name, body=b"x" + self.bytes_of(kind, name)[1:])
        return kind == "blobs"

    def on_once(self, kind, name):
        return self.count(self.path) == 1 and self.on_wrong(kind, name)

    def on_long(self, kind, name):
        if kind == "blobs":
            self.content(kind, name, body=self.bytes_of(kind, name) + b"x")
        return kind == "blobs"

    def on_endless(self, kind, name):
        if kind == "blobs":
            self.note(status=200)
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while True:
                self.wfile.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
        return False

    def on_untold(self, kind, name):
        self.note(status=200)
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(self.bytes_of(kind, name)[:1000])
        return True

    def on_busy(self, kind, name):
        if self.count(self.path) <= 2:
            self.reply(503, b"", Retry_After="1")
            return True
        return False

    def on_never(self, kind, name):
        self.reply(503, b"")
        return True

    def on_gone(self, kind, name):
        self.reply(404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"hunter2"}]}')
        return True

    def on_html(self, kind, name):
        self.reply(200, b"<html>sign in, please</html>", Content_Type="text/html")
        return True

    def on_stalled(self, kind, name):
        if kind == "blobs":
            body = self.bytes_of(kind, name)
            self.note(status=200)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: 1 << 20])
            self.rfile.read(1)
        return kind == "blobs"

    def on_drip(self, kind, name):
        if kind == "blobs":
            body = self.bytes_of(kind, name)
            self.note(status=200)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for at in range(len(body)):
                self.wfile.write(body[at : at + 1])
                time.sleep(0.05)
        return kind == "blobs"

    def on_changing(self, kind, name):
        turn = self.count(self.path)
        body = hashlib.sha256(name.encode()).digest() * 200_000 if turn == 1 else b"new" * 2_000_000
        self.content(kind, name, body=body, etag=f'"{turn}"', limit=1 << 20 if turn == 1 else None)
        return True

    # Repositories that send us on.

    def on_redirect(self, kind, name):
        if self.on_basic(kind, name):
            return True
        if kind == "blobs":
            other = self.headers.get("host").replace("localhost", "127.0.0.1")
            self.reply(307, Location=f"http://{other}/elsewhere/{name}?signature=hunter2")
        return kind == "blobs"

    def on_loop(self, kind, name):
        self.reply(302, Location=self.path + "?signature=hunter2")
        return True

    def on_downgrade(self, kind, name):
        self.reply(302, Location=f'http://{self.headers.get("host")}{self.path}?signature=hunter2')
        return True


server = Server(("127.0.0.1", 0), Handler)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
