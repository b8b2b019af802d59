// The UDP servers.

package main

import (
	"fmt"
	"log"
	"net"
	"net/netip"
)

// answer sends a datagram to who sent one.
type answer func(datagram []byte, peer netip.AddrPort) error

// serveUDPEcho sends every datagram back to where it came from.
func serveUDPEcho(port int) error {
	socket, err := listenUDP(port)
	if err != nil {
		return err
	}
	return receive(socket, func(datagram []byte, peer netip.AddrPort) error {
		_, err := socket.WriteToUDPAddrPort(datagram, peer)
		return err
	})
}

// serveUDPElsewhere echoes too, but from a port of its own choice, as TFTP does.
func serveUDPElsewhere(port int) error {
	socket, err := listenUDP(port)
	if err != nil {
		return err
	}
	other, err := listenUDP(0)
	if err != nil {
		return err
	}
	return receive(socket, func(datagram []byte, peer netip.AddrPort) error {
		_, err := other.WriteToUDPAddrPort(datagram, peer)
		return err
	})
}

// serveUDPPeer says "peer ADDRESS SIZE" of every datagram.
func serveUDPPeer(port int) error {
	socket, err := listenUDP(port)
	if err != nil {
		return err
	}
	return receive(socket, func(datagram []byte, peer netip.AddrPort) error {
		peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
		_, err := socket.WriteToUDPAddrPort(fmt.Appendf(nil, "peer %s %d", peer, len(datagram)), peer)
		return err
	})
}

func listenUDP(port int) (*net.UDPConn, error) {
	return net.ListenUDP("udp", &net.UDPAddr{Port: port})
}

func receive(socket *net.UDPConn, serve answer) error {
	datagram := make([]byte, 64*1024)
	for {
		length, peer, err := socket.ReadFromUDPAddrPort(datagram)
		if err != nil {
			return err
		}
		if err := serve(datagram[:length], peer); err != nil {
			log.Printf("UDP answer to %s: %v", peer, err)
		}
	}
}
