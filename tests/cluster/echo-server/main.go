// The workload of every end-to-end test: it tells what it saw, over HTTP, TCP and UDP.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	http := flag.Int("http", intFromEnv("ECHO_HTTP_PORT", 80), "port of the HTTP server")
	tcp := flag.Int("tcp", intFromEnv("ECHO_TCP_PORT", 7000), "port of the TCP echo")
	udp := flag.Int("udp", intFromEnv("ECHO_UDP_PORT", 7001), "port of the UDP echo")
	greeter := flag.Int("greeter", intFromEnv("ECHO_GREETER_PORT", 7002), "port of the TCP server that speaks first")
	message := flag.String("greeting", "220 echo-server ready\r\n", "what the greeter says first")
	flag.Parse()

	failed := make(chan error)
	start := func(what string, port int, serve func(port int) error) {
		if port == 0 {
			return
		}
		log.Printf("%s on port %d", what, port)
		go func() { failed <- fmt.Errorf("%s on port %d: %w", what, port, serve(port)) }()
	}
	start("HTTP", *http, serveHTTP)
	start("TCP echo", *tcp, serveTCPEcho)
	start("UDP echo", *udp, serveUDPEcho)
	start("TCP greeter", *greeter, func(port int) error { return serveGreeter(port, *message) })

	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	select {
	case err := <-failed:
		log.Fatal(err)
	case got := <-ended:
		log.Printf("%v: goodbye", got)
	}
}

func intFromEnv(name string, otherwise int) int {
	var value int
	if _, err := fmt.Sscanf(os.Getenv(name), "%d", &value); err != nil {
		return otherwise
	}
	return value
}
