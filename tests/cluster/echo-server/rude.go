// TCP servers that do what peers do on bad days.

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// patience bounds how long a connection is held whose end cannot be seen without reading.
const patience = 2 * time.Minute

// serveDeaf accepts and never reads, so that the sender's window closes.
func serveDeaf(port int) error {
	return accept(port, func(connection *net.TCPConn) error {
		time.Sleep(patience)
		return nil
	})
}

// serveEndless sends until the peer has gone.
func serveEndless(port int) error {
	return accept(port, func(connection *net.TCPConn) error {
		chunk := bytes.Repeat([]byte("0123456789abcdef"), 4096)
		for {
			if _, err := connection.Write(chunk); err != nil {
				return nil
			}
		}
	})
}

// serveReset answers the first byte with a reset.
func serveReset(port int) error {
	return accept(port, func(connection *net.TCPConn) error {
		if _, err := connection.Read(make([]byte, 1)); err != nil {
			return err
		}
		return connection.SetLinger(0)
	})
}

// halfClosed has what serveHalfClose read: bytes by the name in the first line.
var halfClosed sync.Map

// serveHalfClose ends its own side at once and goes on reading. The first line is a name by which the number of the
// bytes after it can be asked for over HTTP.
func serveHalfClose(port int) error {
	return accept(port, func(connection *net.TCPConn) error {
		if err := connection.CloseWrite(); err != nil {
			return err
		}
		reader := bufio.NewReader(connection)
		name, err := reader.ReadString('\n')
		if err != nil {
			return err
		}
		count, err := io.Copy(io.Discard, reader)
		done, _ := halfClosed.LoadOrStore(strings.TrimSpace(name), make(chan int64, 1))
		done.(chan int64) <- count
		return err
	})
}

// tellHalfClosed waits for the end of a connection to serveHalfClose and tells how many bytes it carried.
func tellHalfClosed(w http.ResponseWriter, r *http.Request) {
	done, _ := halfClosed.LoadOrStore(r.PathValue("name"), make(chan int64, 1))
	select {
	case count := <-done.(chan int64):
		halfClosed.Delete(r.PathValue("name"))
		fmt.Fprintln(w, count)
	case <-r.Context().Done():
	}
}
