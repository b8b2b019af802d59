// The TCP servers below HTTP that behave well: an echo, one that speaks first, and one that tells its peer.

package main

import (
	"fmt"
	"io"
	"log"
	"net"
)

// serveTCPEcho sends back every byte, and its own end of stream when the peer has ended its side.
func serveTCPEcho(port int) error {
	return accept(port, func(connection *net.TCPConn) error {
		_, err := io.Copy(connection, connection)
		return err
	})
}

// serveGreeter speaks first, as mail and database servers do, and echoes afterwards.
func serveGreeter(port int) error {
	return accept(port, func(connection *net.TCPConn) error {
		if _, err := io.WriteString(connection, *greeting); err != nil {
			return err
		}
		_, err := io.Copy(connection, connection)
		return err
	})
}

// servePeer says "peer ADDRESS local ADDRESS" and ends.
func servePeer(port int) error {
	return accept(port, func(connection *net.TCPConn) error {
		_, err := fmt.Fprintf(connection, "peer %s local %s\n", connection.RemoteAddr(), connection.LocalAddr())
		return err
	})
}

func accept(port int, serve func(*net.TCPConn) error) error {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{Port: port})
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	for {
		connection, err := listener.AcceptTCP()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go func() {
			defer connection.Close()
			if err := serve(connection); err != nil {
				log.Printf("%s: %v", connection.RemoteAddr(), err)
			}
		}()
	}
}
