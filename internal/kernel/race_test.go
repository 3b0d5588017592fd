//go:build race

package kernel

// stride thins out the sizes that are tried: the race detector makes them slow.
const stride = 8
