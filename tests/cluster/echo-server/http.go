// The HTTP server: by default it tells all that it saw; some paths do what tests need.

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// saw is the answer to most requests: the request as it arrived, and who answers.
type saw struct {
	Method   string              `json:"method"`
	Path     string              `json:"path"`
	Query    map[string][]string `json:"query"`
	Protocol string              `json:"protocol"`
	Host     string              `json:"host"`
	Headers  map[string][]string `json:"headers"`
	Body     string              `json:"body"`
	Peer     string              `json:"peer"`
	Local    string              `json:"local"`
	Hostname string              `json:"hostname"`
	Pid      int                 `json:"pid"`
	Env      []string            `json:"env"`
}

func serveHTTP(port int) error {
	server := &http.Server{Addr: fmt.Sprintf(":%d", port), Handler: handler(), Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	return server.ListenAndServe()
}

// handler has what every HTTP server of ours serves.
func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", tell)
	mux.HandleFunc("/status/{code}", answerStatus)
	mux.HandleFunc("/sleep/{milliseconds}", sleep)
	mux.HandleFunc("/bytes/{count}", count)
	mux.HandleFunc("/stream/{lines}", stream)
	mux.HandleFunc("/file/{path...}", file)
	mux.HandleFunc("/connect/{address}", connect)
	mux.HandleFunc("/half-closed/{name}", tellHalfClosed)
	return mux
}

// tell answers with all that the server knows about the request and about itself.
func tell(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	hostname, err := os.Hostname()
	if err != nil {
		hostname = err.Error()
	}
	answer := saw{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.Query(), Protocol: r.Proto, Host: r.Host,
		Headers: r.Header, Body: string(body), Peer: r.RemoteAddr, Local: localAddress(r),
		Hostname: hostname, Pid: os.Getpid(), Env: os.Environ(),
	}
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.Encode(answer)
}

func localAddress(r *http.Request) string {
	address, found := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !found {
		return ""
	}
	return address.String()
}

// answerStatus answers with the wanted code.
func answerStatus(w http.ResponseWriter, r *http.Request) {
	code, ok := number(w, r, "code")
	if !ok {
		return
	}
	if code < 200 || code > 599 {
		http.Error(w, "a code from 200 to 599", http.StatusBadRequest)
		return
	}
	w.WriteHeader(code)
}

// sleep answers late.
func sleep(w http.ResponseWriter, r *http.Request) {
	milliseconds, ok := number(w, r, "milliseconds")
	if !ok {
		return
	}
	select {
	case <-time.After(time.Duration(milliseconds) * time.Millisecond):
		fmt.Fprintf(w, "slept %d ms\n", milliseconds)
	case <-r.Context().Done():
	}
}

// count answers with that many bytes.
func count(w http.ResponseWriter, r *http.Request) {
	left, ok := number(w, r, "count")
	if !ok {
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(left))
	chunk := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	for left > 0 {
		written, err := w.Write(chunk[:min(left, len(chunk))])
		if err != nil {
			return
		}
		left -= written
	}
}

// stream sends one line each 100 ms, chunked, so that a proxy which collects them shows itself.
func stream(w http.ResponseWriter, r *http.Request) {
	lines, ok := number(w, r, "lines")
	if !ok {
		return
	}
	for line := range lines {
		fmt.Fprintf(w, "line %d\n", line)
		http.NewResponseController(w).Flush()
		select {
		case <-time.After(100 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
}

// file answers with a file of the container, to compare with what a mirrored process reads.
func file(w http.ResponseWriter, r *http.Request) {
	content, err := os.ReadFile("/" + r.PathValue("path"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Write(content)
}

// connect tells whether the container reaches a TCP address, and how it fails if not.
func connect(w http.ResponseWriter, r *http.Request) {
	connection, err := net.DialTimeout("tcp", r.PathValue("address"), 5*time.Second)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer connection.Close()
	fmt.Fprintf(w, "%s -> %s\n", connection.LocalAddr(), connection.RemoteAddr())
}

func number(w http.ResponseWriter, r *http.Request, name string) (int, bool) {
	value, err := strconv.Atoi(r.PathValue(name))
	if err != nil || value < 0 {
		http.Error(w, fmt.Sprintf("%s is no number: %q", name, r.PathValue(name)), http.StatusBadRequest)
		return 0, false
	}
	return value, true
}
