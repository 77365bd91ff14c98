//go:build tools

// Package kube names the programs that scripts/kube builds, so that go.mod and go.sum hold all they need.
package kube

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
)
