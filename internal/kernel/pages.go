package kernel

// hugePage is how many bytes a large page has where there are any.
const hugePage = 2 << 20

// Zeros makes n zeros, on large pages where the system has them for who asks: walks through many arrays at a time wait for fewer
// translations of addresses.
func Zeros[T Float](n int) []T {
	s := make([]T, n)
	if n*sizeOf[T]() >= 2*hugePage {
		askForHugePages(s)
	}
	return s
}
