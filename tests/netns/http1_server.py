"""An HTTP/1.1 and WebSocket server in a pod, on aiohttp.

    python -m tests.netns.http1_server PORT NAME

    POST /echo     the body comes back; chunked, unless the request's length is given and `length` is in the query
    any  /slow     answers after a tenth of a second
    any  /         answers "NAME\\n"
    GET  /socket   a WebSocket: each message comes back, "bye" closes it with code 4000
Every response has the field `server-name: NAME`. SIGTERM: exit status 0.
"""

import asyncio
import signal
import sys

from aiohttp import WSMsgType, web


class Server:
    """The four resources."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def root(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"{self._name}\n")

    async def slow(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        return await self.root(request)

    async def echo(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if "length" in request.query:
            response.content_length = request.content_length
        else:
            response.enable_chunked_encoding()
        await response.prepare(request)
        async for piece in request.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response

    async def socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            elif message.data == "bye":
                await socket.close(code=4000, message=b"as asked")
            else:
                await socket.send_str(message.data)
        return socket

    async def name_it(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers["server-name"] = self._name


async def main(port: int, name: str) -> None:
    server = Server(name)
    app = web.Application(client_max_size=1 << 30)
    app.on_response_prepare.append(server.name_it)
    app.add_routes([web.post("/echo", server.echo), web.get("/socket", server.socket)])
    app.add_routes([web.route("*", "/slow", server.slow), web.route("*", "/", server.root)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
