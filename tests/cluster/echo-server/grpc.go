// The gRPC server: echo.proto by hand, since its messages are well-known types.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

var echoService = grpc.ServiceDesc{
	ServiceName: "mirror.test.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Say", Handler: unary(say)},
		{MethodName: "Fail", Handler: unary(fail)},
	},
	Streams: []grpc.StreamDesc{
		{StreamName: "Count", Handler: countUp, ServerStreams: true},
		{StreamName: "Chat", Handler: chat, ServerStreams: true, ClientStreams: true},
	},
}

func serveGRPC(port int) error {
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	server.RegisterService(&echoService, nil)
	return server.Serve(listener)
}

// unary makes a method's handler of a function of its message.
func unary[In, Out any](serve func(context.Context, *In) (Out, error)) grpc.MethodHandler {
	return func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		message := new(In)
		if err := decode(message); err != nil {
			return nil, err
		}
		return serve(ctx, message)
	}
}

func say(ctx context.Context, text *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	incoming, _ := metadata.FromIncomingContext(ctx)
	for _, value := range incoming.Get("x-mirror-text") {
		if err := grpc.SetHeader(ctx, metadata.Pairs("x-mirror-text", value)); err != nil {
			return nil, err
		}
	}
	return text, grpc.SetTrailer(ctx, metadata.Pairs("x-mirror-trailer", "said"))
}

func fail(_ context.Context, code *wrapperspb.Int32Value) (*wrapperspb.StringValue, error) {
	return nil, status.Errorf(codes.Code(code.Value), "failed with %d as asked", code.Value)
}

func countUp(_ any, stream grpc.ServerStream) error {
	var to wrapperspb.Int32Value
	if err := stream.RecvMsg(&to); err != nil {
		return err
	}
	for number := range to.Value {
		if err := stream.SendMsg(wrapperspb.Int32(number + 1)); err != nil {
			return err
		}
	}
	stream.SetTrailer(metadata.Pairs("x-mirror-trailer", "counted"))
	return nil
}

func chat(_ any, stream grpc.ServerStream) error {
	for {
		var text wrapperspb.StringValue
		if err := stream.RecvMsg(&text); errors.Is(err, io.EOF) {
			stream.SetTrailer(metadata.Pairs("x-mirror-trailer", "chatted"))
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(wrapperspb.String("heard " + text.Value)); err != nil {
			return err
		}
	}
}
