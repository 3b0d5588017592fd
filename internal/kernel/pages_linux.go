package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// askForHugePages asks for the large pages that lie wholly in s. It is as good without: an error does not matter.
func askForHugePages[T Float](s []T) {
	start := uintptr(unsafe.Pointer(&s[0]))
	skip := -start & (hugePage - 1)
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)*sizeOf[T]())[skip:]
	_ = unix.Madvise(bytes[:len(bytes)&^(hugePage-1)], unix.MADV_HUGEPAGE)
}
