"""gRPC in Python: unary, streams both ways, metadata, trailers and errors, without generated code."""

import grpc
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

PATIENCE = 10

with grpc.insecure_channel("echo-server:7010") as channel:

    def method(kind, name, request, answer):
        make = getattr(channel, kind)
        return make(f"/mirror.test.Echo/{name}", request.SerializeToString, answer.FromString)

    say = method("unary_unary", "Say", StringValue, StringValue)
    metadata = [("x-mirror-text", "asked")]
    answer, call = say.with_call(StringValue(value="hello"), metadata=metadata, timeout=PATIENCE)
    header, trailer = dict(call.initial_metadata()), dict(call.trailing_metadata())
    print("unary", answer.value, header["x-mirror-text"], trailer["x-mirror-trailer"])

    stream = method("unary_stream", "Count", Int32Value, Int32Value)(Int32Value(value=1000), timeout=PATIENCE)
    print("server-stream", sum(number.value for number in stream), dict(stream.trailing_metadata())["x-mirror-trailer"])

    words = (StringValue(value=word) for word in ["one", "two", "three"])
    stream = method("stream_stream", "Chat", StringValue, StringValue)(words, timeout=PATIENCE)
    heard = ",".join(text.value for text in stream)
    print("both-streams", heard, dict(stream.trailing_metadata())["x-mirror-trailer"])

    try:
        method("unary_unary", "Fail", Int32Value, StringValue)(Int32Value(value=7), timeout=PATIENCE)
    except grpc.RpcError as error:
        print("error", error.code().name, error.details())
