package graph

// Making says what a node was made for. Where several ask for equal nodes it is what the first asked for.
type Making struct {
	Within string // the part of a network, as [Graph.Within] was told; "" where it was told nothing

	// Of is the node whose derivative the node is of, or is on the way to; nil outside of derivatives. With Along it is the
	// directional derivative (JVP), else the gradient (VJP), in which case the node comes after Of in going back.
	Of    *Node
	Along bool
}

// Making is what the node was made for.
func (n *Node) Making() Making { return n.made }

// Within names the part of a network, e.g. a layer, that the nodes made from now on belong to, until the function that it returns is called.
func (g *Graph) Within(part string) (leave func()) { return g.making(Making{Within: part}) }

// making sets what nodes are made for, until the function that it returns is called.
func (g *Graph) making(m Making) (leave func()) {
	before := g.made
	g.made = m
	return func() { g.made = before }
}
