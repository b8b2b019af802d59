// The HTTP server once more over TLS: HTTP/1.1 and HTTP/2 over TCP, HTTP/3 over UDP.

package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net/http"
	"os"

	"github.com/quic-go/quic-go/http3"
)

var (
	certificate = flag.String("certificate", "/etc/echo/tls/tls.crt", "the certificate of TLS")
	key         = flag.String("key", "/etc/echo/tls/tls.key", "its private key")
)

// serveHTTPS serves both ways, or nothing where there is no certificate.
func serveHTTPS(port int) error {
	if _, err := os.Stat(*certificate); errors.Is(err, fs.ErrNotExist) {
		log.Printf("no TLS: %v", err)
		select {}
	}
	address, handler := fmt.Sprintf(":%d", port), handler()
	failed := make(chan error)
	go func() { failed <- http3.ListenAndServeQUIC(address, *certificate, *key, handler) }()
	go func() { failed <- http.ListenAndServeTLS(address, *certificate, *key, handler) }()
	return <-failed
}
