//go:build !linux

package kernel

func askForHugePages[T Float]([]T) {}
