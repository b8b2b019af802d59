// Every program of a small Kubernetes in one file on disk: etcd, the control plane, kubelet and
// kube-proxy. The name it is called by (a symbolic link), or else its first argument, says which.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// kubernetes holds the programs that share Kubernetes' own way of starting.
var kubernetes = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-proxy":              proxy.NewProxyCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
}

func main() {
	args := os.Args
	if !known(args[0]) && len(args) > 1 {
		args = args[1:]
	}
	name := filepath.Base(args[0])
	os.Args = args
	if name == "etcd" {
		etcdmain.Main(args)
		return
	}
	command, found := kubernetes[name]
	if !found {
		fmt.Fprintf(os.Stderr, "%q is no program of this file; it has etcd, %s\n", name, names())
		os.Exit(2)
	}
	os.Exit(cli.Run(command()))
}

func known(path string) bool {
	name := filepath.Base(path)
	_, found := kubernetes[name]
	return found || name == "etcd"
}

func names() string {
	var all []string
	for name := range kubernetes {
		all = append(all, name)
	}
	sort.Strings(all)
	return strings.Join(all, ", ")
}
