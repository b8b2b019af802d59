// The servers below HTTP: echoes over TCP and UDP, and one that speaks first.

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
func serveGreeter(port int, greeting string) error {
	return accept(port, func(connection *net.TCPConn) error {
		if _, err := io.WriteString(connection, greeting); err != nil {
			return err
		}
		_, err := io.Copy(connection, connection)
		return err
	})
}

// serveUDPEcho sends every datagram back to where it came from.
func serveUDPEcho(port int) error {
	socket, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
	if err != nil {
		return err
	}
	datagram := make([]byte, 64*1024)
	for {
		length, peer, err := socket.ReadFromUDPAddrPort(datagram)
		if err != nil {
			return err
		}
		if _, err := socket.WriteToUDPAddrPort(datagram[:length], peer); err != nil {
			log.Printf("UDP answer to %s: %v", peer, err)
		}
	}
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
