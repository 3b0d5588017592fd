package dataset

// csvText opens a table with a column of text.
func (o *opener) csvText(p *pair, t *table, labels []int) error {
	return badOption("--vocab", "text in a table needs a tokenizer.json")
}
