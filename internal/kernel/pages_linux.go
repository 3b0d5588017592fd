package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// askForHugePages asks for the large pages that lie wholly in s, and, where memory that was in use before has pages already, for their
// exchange. It is as good without: an error does not matter.
func askForHugePages[T Float](s []T) {
	start := uintptr(unsafe.Pointer(&s[0]))
	skip := -start & (hugePage - 1)
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)*sizeOf[T]())[skip:]
	bytes = bytes[:len(bytes)&^(hugePage-1)]
	_ = unix.Madvise(bytes, unix.MADV_HUGEPAGE)
	_ = unix.Madvise(bytes, unix.MADV_COLLAPSE)
}
