package dataset

import (
	"fmt"
	"slices"
	"strings"
)

// classNumbers are the numbers of the names of classes, sorted ones: those that the network gives them
// (Options.Classes) where it knows all of them, whatever their case; else their places. names are those of
// the classes 0, 1, …
func classNumbers(sorted, known []string) (numbers []int, names []string) {
	place := map[string]int{}
	for i, name := range known {
		place[strings.ToLower(name)] = i
	}
	for _, name := range sorted {
		if at, ok := place[strings.ToLower(name)]; ok {
			numbers = append(numbers, at)
			delete(place, strings.ToLower(name)) // a second name that differs in case alone is another class
		}
	}
	if len(numbers) == len(sorted) {
		return numbers, known
	}
	numbers = numbers[:0]
	for i := range sorted {
		numbers = append(numbers, i)
	}
	return numbers, sorted
}

// numberedNote says which numbers the names of classes have got.
func numberedNote(file, what string, sorted []string, numbers []int) string {
	const most = 20
	var list []string
	for i, name := range sorted {
		if i == most {
			list = append(list, fmt.Sprintf("… (%d in all)", len(sorted)))
			break
		}
		list = append(list, fmt.Sprintf("%.40q = %d", name, numbers[i]))
	}
	return fmt.Sprintf("%s: %s: %s", file, what, strings.Join(list, ", "))
}

// numberedBy is how names of classes were numbered.
func numberedBy(sorted, names []string) string {
	if slices.Equal(sorted, names) {
		return "in their order"
	}
	return "as config.json of the network does"
}
