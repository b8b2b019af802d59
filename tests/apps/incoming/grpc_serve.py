"""The service of echo.proto in Python, which says whose it is. Arguments: name, port."""

import sys
import threading
from concurrent import futures

import grpc
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

NAME, PORT = sys.argv[1], int(sys.argv[2])


def say(text, context):
    print(NAME, "said", text.value, flush=True)
    if text.value == "wait":
        threading.Event().wait()
    given = dict(context.invocation_metadata())
    if "x-mirror-text" in given:
        context.send_initial_metadata([("x-mirror-text", given["x-mirror-text"])])
    context.set_trailing_metadata([("x-mirror-trailer", NAME)])
    return StringValue(value=f"{NAME} {text.value[:20]} {len(text.value)}")


def fail(code, context):
    codes = {status.value[0]: status for status in grpc.StatusCode}
    context.abort(codes[code.value], f"failed with {code.value} as asked")


def count(to, context):
    for number in range(to.value):
        yield Int32Value(value=number + 1)
    context.set_trailing_metadata([("x-mirror-trailer", NAME)])


def chat(texts, context):
    context.add_callback(lambda: print(NAME, "chat ends", context.code(), flush=True))
    for text in texts:
        yield StringValue(value=f"{NAME} heard {text.value}")
    context.set_trailing_metadata([("x-mirror-trailer", NAME)])


def method(kind, serve, request, answer):
    return getattr(grpc, kind)(serve, request.FromString, answer.SerializeToString)


server = grpc.server(futures.ThreadPoolExecutor(max_workers=40))
server.add_generic_rpc_handlers([
    grpc.method_handlers_generic_handler("mirror.test.Echo", {
        "Say": method("unary_unary_rpc_method_handler", say, StringValue, StringValue),
        "Fail": method("unary_unary_rpc_method_handler", fail, Int32Value, StringValue),
        "Count": method("unary_stream_rpc_method_handler", count, Int32Value, Int32Value),
        "Chat": method("stream_stream_rpc_method_handler", chat, StringValue, StringValue),
    })
])
server.add_insecure_port(f"0.0.0.0:{PORT}")
server.start()
print("serves", flush=True)
server.wait_for_termination()
