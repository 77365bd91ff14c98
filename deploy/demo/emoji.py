"""The emoji service: the catalogue of what can be voted for. Keeps no state."""

from __future__ import annotations

import asyncio

import emojivoto_pb2 as pb
import emojivoto_pb2_grpc as services
import grpc
from serving import SERVER_OPTIONS, serve_until_stopped
from settings import Options

CATALOGUE = {
    ":apple:": "🍎",
    ":avocado:": "🥑",
    ":balloon:": "🎈",
    ":banana:": "🍌",
    ":beach_umbrella:": "🏖",
    ":bee:": "🐝",
    ":bicycle:": "🚲",
    ":broccoli:": "🥦",
    ":bulb:": "💡",
    ":cactus:": "🌵",
    ":camera:": "📷",
    ":camping:": "🏕",
    ":cat:": "🐱",
    ":cherries:": "🍒",
    ":coffee:": "☕",
    ":compass:": "🧭",
    ":crab:": "🦀",
    ":dolphin:": "🐬",
    ":doughnut:": "🍩",
    ":drum:": "🥁",
    ":fire:": "🔥",
    ":fox:": "🦊",
    ":ghost:": "👻",
    ":guitar:": "🎸",
    ":hammer:": "🔨",
    ":hedgehog:": "🦔",
    ":kite:": "🪁",
    ":lemon:": "🍋",
    ":maple_leaf:": "🍁",
    ":mountain:": "⛰",
    ":mushroom:": "🍄",
    ":octopus:": "🐙",
    ":owl:": "🦉",
    ":panda:": "🐼",
    ":peach:": "🍑",
    ":penguin:": "🐧",
    ":pizza:": "🍕",
    ":popcorn:": "🍿",
    ":rainbow:": "🌈",
    ":robot:": "🤖",
    ":rocket:": "🚀",
    ":sailboat:": "⛵",
    ":snail:": "🐌",
    ":snowflake:": "❄",
    ":sunflower:": "🌻",
    ":taco:": "🌮",
    ":tent:": "⛺",
    ":tower:": "🗼",
    ":trophy:": "🏆",
    ":violin:": "🎻",
}


class Emoji(services.EmojiServiceServicer):
    """Answers from CATALOGUE."""

    async def ListAll(  # noqa: N802 (the name is the method's in the .proto)
        self, _request: pb.ListAllRequest, _call: grpc.aio.ServicerContext
    ) -> pb.ListAllResponse:
        """Return every emoji, in the order of their shortcodes."""
        return pb.ListAllResponse(emoji=[pb.Emoji(shortcode=code, unicode=char) for code, char in CATALOGUE.items()])

    async def FindByShortcode(  # noqa: N802
        self, request: pb.FindByShortcodeRequest, call: grpc.aio.ServicerContext
    ) -> pb.FindByShortcodeResponse:
        """Return one emoji; NOT_FOUND when the catalogue has none of that name."""
        char = CATALOGUE.get(request.shortcode)
        if char is None:
            await call.abort(grpc.StatusCode.NOT_FOUND, f"no emoji is called {request.shortcode!r}")
        return pb.FindByShortcodeResponse(emoji=pb.Emoji(shortcode=request.shortcode, unicode=char))


async def main() -> None:
    """Serve until SIGTERM."""
    options = Options("Emoji service of the demo (gRPC).")
    options.add_listening(8080)
    options.add("grace-s", 5.0, "seconds that running calls have to finish after SIGTERM")
    args = options.parse()
    server = grpc.aio.server(options=SERVER_OPTIONS)
    services.add_EmojiServiceServicer_to_server(Emoji(), server)
    await serve_until_stopped(server, args.host, args.port, args.grace_s)


if __name__ == "__main__":
    asyncio.run(main())
