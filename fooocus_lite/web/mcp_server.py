"""The tools in the words of the Model Context Protocol. Imports its package, and so is itself imported late."""

from __future__ import annotations

from typing import Any, cast

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from starlette.requests import Request

from fooocus_lite import __version__
from fooocus_lite.errors import FooocusError
from fooocus_lite.web.mcp_tools import Tools, to_base64
from fooocus_lite.web.who import user_of

ABOUT = "Draws pictures from words on this computer. Say in a few plain words what the picture shows."
MAX_BODY_BYTES = 1_000_000
#: Assistants that are connected at once; one that says nothing for half an hour is forgotten. A script that connects
#: anew every two seconds and never says goodbye does not shut out the others.
MAX_SESSIONS = 1000
Context = ServerRequestContext[Any, Any]


def make_manager(tools: Tools) -> StreamableHTTPSessionManager:
    """What answers at ``/mcp``, once its ``run`` is entered. Hosts and origins are the guard's business."""

    async def list_tools(context: Context, asked: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(
            tools=[
                Tool(
                    name=row.name,
                    description=row.about,
                    input_schema=row.arguments.model_json_schema(),
                    annotations=ToolAnnotations(read_only_hint=row.is_reading, open_world_hint=False),
                )
                for row in tools.rows.values()
            ]
        )

    async def call_tool(context: Context, asked: CallToolRequestParams) -> CallToolResult:
        request = cast("Request | None", context.request)
        if request is None:  # then nobody can tell who asks
            return CallToolResult(content=[TextContent(text="This way of asking is not open.")], is_error=True)
        user = user_of(request)
        try:
            answer = await tools.call(asked.name, asked.arguments or {}, user, context.session.report_progress)
        except FooocusError as exc:
            return CallToolResult(content=[TextContent(text=str(exc))], is_error=True)
        content: list[ContentBlock] = [
            ImageContent(data=to_base64(shown), mime_type=shown.mime_type) for shown in answer.pictures
        ]
        return CallToolResult(content=[*content, TextContent(text=answer.text)])

    server = Server(
        "fooocus-lite",
        version=__version__,
        title="Fooocus Lite",
        instructions=ABOUT,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    return StreamableHTTPSessionManager(server, max_request_body_size=MAX_BODY_BYTES, max_sessions=MAX_SESSIONS)
