# SPDX-License-Identifier: Apache-2.0
"""A server with OpenAI's chat completions, whose answers a test decides."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest


class Stub:
    """`answer` gets how many were asked, the pictures (BGR) and the question; None: error 500.

    Attributes:
        asked: model, pictures and question of each.
    """

    def __init__(self, answer):
        self.asked = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                parts = body["messages"][0]["content"]
                urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
                images = [
                    cv2.imdecode(
                        np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8), 1
                    )
                    for url in urls
                ]
                question = parts[-1]["text"]
                stub.asked.append((body["model"], images, question))
                text = answer(len(stub.asked), images, question)
                content = json.dumps(
                    {
                        "id": "1",
                        "object": "chat.completion",
                        "created": 0,
                        "model": body["model"],
                        "choices": [
                            {
                                "index": 0,
                                "finish_reason": "stop",
                                "message": {"role": "assistant", "content": text},
                            }
                        ],
                        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                    }
                ).encode()
                self.send_response(500 if text is None else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve():
    stubs = []

    def start(answer):
        stubs.append(Stub(answer))
        return stubs[-1]

    yield start
    for stub in stubs:
        stub.close()
