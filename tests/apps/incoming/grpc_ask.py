"""Asks the service of echo.proto as two users on one connection, in turns. Arguments: address with port."""

import sys
import threading

import grpc
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

PATIENCE = 20
LARGE = 3_000_000

with grpc.insecure_channel(sys.argv[1]) as channel:

    def method(kind, name, request, answer):
        make = getattr(channel, kind)
        return make(f"/mirror.test.Echo/{name}", request.SerializeToString, answer.FromString)

    say = method("unary_unary", "Say", StringValue, StringValue)
    count = method("unary_stream", "Count", Int32Value, Int32Value)
    chat = method("stream_stream", "Chat", StringValue, StringValue)
    fail = method("unary_unary", "Fail", Int32Value, StringValue)

    for user in ("you", "me") * 3:
        own = {"metadata": [("x-user", user), ("x-mirror-text", "asked")], "timeout": PATIENCE}
        answer, call = say.with_call(StringValue(value="hello"), **own)
        header, trailer = dict(call.initial_metadata()), dict(call.trailing_metadata())
        print(user, "unary", answer.value, header["x-mirror-text"], trailer["x-mirror-trailer"])
        answer = say(StringValue(value="x" * LARGE), **own)
        print(user, "large", answer.value[:30], len(answer.value) > 20)
        stream = count(Int32Value(value=1000), **own)
        print(user, "stream", sum(number.value for number in stream), dict(stream.trailing_metadata())["x-mirror-trailer"])
        # Each word is sent once the one before has been heard.
        heard = threading.Semaphore(1)

        def words():
            for word in "one", "two", "three":
                heard.acquire()
                yield StringValue(value=word)

        stream = chat(words(), **own)
        for text in stream:
            print(user, "both", text.value)
            heard.release()
        print(user, "both", dict(stream.trailing_metadata())["x-mirror-trailer"])
        try:
            fail(Int32Value(value=7), **own)
        except grpc.RpcError as error:
            print(user, "error", error.code().name, error.details())
        # Ends a stream in the middle.
        stream = chat(iter(lambda: StringValue(value="on"), None), **own)
        print(user, "cut", next(iter(stream)).value)
        stream.cancel()
    many = [say.future(StringValue(value=str(number)), metadata=[("x-user", "me" if number % 2 else "you")]) for number in range(200)]
    print("many", sorted(len(call.result().value) > 0 for call in many).count(True))
