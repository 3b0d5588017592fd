package hvp_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"hessdens/internal/hvp"
	"hessdens/internal/model"
	"hessdens/internal/model/zoo"
)

// altered is a column with one value in the place of another.
type altered struct {
	hvp.Column
	example, index int
	value          float64
}

func (c altered) Floats(dst []float64, lo, hi int) error {
	err := c.Column.Floats(dst, lo, hi)
	if lo <= c.example && c.example < hi {
		dst[(c.example-lo)*len(dst)/(hi-lo)+c.index] = c.value
	}
	return err
}

// set gives all values of a parameter or buffer one value.
func set(t *testing.T, net *model.Network, name string, value float64) {
	t.Helper()
	for _, ps := range [][]model.Param{net.Params, net.Buffers} {
		for i, p := range ps {
			if p.Name == name {
				ps[i].Values = make([]float64, len(p.Values))
				for j := range p.Values {
					ps[i].Values[j] = value
				}
				return
			}
		}
	}
	t.Fatalf("%s has no tensor %s", net.Name, name)
}

// TestNonFinite: where a pass ceases to be finite is named by layer, batch and example, in whichever part of it that begins.
func TestNonFinite(t *testing.T) {
	const examples, batch = 70, 32
	for _, c := range []struct {
		name, network string
		data          *altered // of the inputs
		weights       map[string]float64
		opt           hvp.Options
		want          []string
	}{
		{"overflow in the middle", "resnet20", nil, map[string]float64{"layer2.0.bn1.weight": 1e38, "layer2.0.bn1.bias": 3e38}, hvp.Options{},
			[]string{"the loss of examples 0 to 31", `the output of "layer2.0.bn1" is `, "in example 0", "--precision float64"}},
		{"one example", "mlp:20-16-8-5", &altered{example: 41, index: 3, value: 1e38}, map[string]float64{"1.weight": 1e3}, hvp.Options{},
			[]string{"the loss of examples 32 to 63", `the output of "1" is +Inf in example 41`, "finite in float64"}},
		{"in float64 too", "mlp:20-16-8-5", &altered{example: 41, index: 3, value: 1e308}, map[string]float64{"1.weight": 1e3}, hvp.Options{Precision: hvp.Float64},
			[]string{`the output of "1" is +Inf in example 41`, "in float64 too", "--mean"}},
		{"a negative variance", "resnet20", nil, map[string]float64{"layer1.1.bn2.running_var": -1}, hvp.Options{},
			[]string{"the loss of examples 0 to 31", `what is made of "layer1.1.bn2" is NaN`, "in float64 too"}},
		{"a weight beyond float32", "mlp:20-16-8-5", nil, map[string]float64{"3.bias": 1e39}, hvp.Options{},
			[]string{`the parameter "3.bias" is +Inf`, "finite in float64"}},
		{"an input beyond float32", "mlp:20-16-8-5", &altered{example: 69, index: 19, value: -1e39}, nil, hvp.Options{},
			[]string{"the loss of examples 64 to 69", "the inputs is -Inf in example 69", "finite in float64"}},
		{"the statistics of a batch", "smallcnn", &altered{example: 40, index: 5, value: 3e38}, map[string]float64{"features.0.0.weight": 2}, hvp.Options{BatchStats: true},
			[]string{"the loss of examples 32 to 63", `the output of "features.0.0" is +Inf (it`, "finite in float64"}},
		{"the last layer", "mlp:20-16-8-5", nil, map[string]float64{"5.weight": 0, "5.bias": 3e38}, hvp.Options{Loss: model.MSE},
			[]string{"the loss is +Inf in example 0", "finite in float64"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			net, err := zoo.Parse(c.network)
			if err != nil {
				t.Fatal(err)
			}
			zoo.Initialise(net, 1)
			for name, v := range c.weights {
				set(t, net, name, v)
			}
			data := synthetic(examples, net.Input, false, net.Outputs)
			if c.data != nil {
				c.data.Column = data.X
				data.X = c.data
			}
			if c.opt.Loss == model.MSE {
				data.Y = memory{shape: []int{net.Outputs}, f: make([]float64, examples*net.Outputs)}
			}
			c.opt.BatchSize = batch
			o, err := hvp.New(net, data, c.opt)
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			_, _, err = o.Gradient(context.Background())
			var fault *hvp.NonFiniteError
			if !errors.As(err, &fault) {
				t.Fatalf("error %v, want a *NonFiniteError", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

// TestNonFiniteDerivative: the gradient and the product of a loss that is finite.
func TestNonFiniteDerivative(t *testing.T) {
	net, err := zoo.Parse("mlp:20-16-8-5,tanh")
	if err != nil {
		t.Fatal(err)
	}
	zoo.Initialise(net, 1)
	data := synthetic(70, net.Input, false, net.Outputs)
	o, err := hvp.New(net, data, hvp.Options{BatchSize: 32})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	v := make([]float64, o.Dim())
	v[0] = 1
	if err := o.Explain(context.Background(), v); err != nil {
		t.Errorf("a product that is finite: %v", err)
	}
	v[0] = 1e38
	v[len(v)-1] = 1e38
	v[o.Groups()[1].Offset] = 3e38
	err = o.Explain(context.Background(), v)
	var fault *hvp.NonFiniteError
	if !errors.As(err, &fault) || fault.What != "Hessian-vector product" || fault.First != 0 || fault.Example < 0 || !fault.Wider || !strings.Contains(err.Error(), `the derivative along the probe of`) {
		t.Errorf("error %v", err)
	}
}

// TestNonFiniteWinograd: under tiles a value that is not finite reaches all outputs of its tile; the layer and the example are those of
// the operation all the same. The vector is beyond float32 at one layer.
func TestNonFiniteWinograd(t *testing.T) {
	net, err := zoo.Parse("resnet20")
	if err != nil {
		t.Fatal(err)
	}
	zoo.Initialise(net, 1)
	o, err := hvp.New(net, synthetic(4, net.Input, false, net.Outputs), hvp.Options{BatchSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	v := make([]float64, o.Dim())
	for _, g := range o.Groups() {
		if g.Name == "layer2.1.conv2.weight" {
			for i := range g.Size {
				v[g.Offset+i] = 3e38
			}
		}
	}
	var fault *hvp.NonFiniteError
	if err := o.Explain(context.Background(), v); !errors.As(err, &fault) || fault.First != 0 || fault.Last != 2 || fault.Example != 0 || !fault.Wider ||
		fault.Tensor != `the derivative along the probe of the output of "layer2.1.conv2"` {
		t.Errorf("error %v", err)
	}
}

// TestNonFiniteMask: the infinities of the mask of attention are no fault, and what overflows after them is.
func TestNonFiniteMask(t *testing.T) {
	net, err := zoo.Parse("gpt2:layers=2,heads=2,width=16,context=8,vocab=11")
	if err != nil {
		t.Fatal(err)
	}
	zoo.Initialise(net, 1)
	set(t, net, "transformer.h.1.mlp.c_fc.bias", 3e38)
	set(t, net, "transformer.h.1.mlp.c_proj.weight", 1)
	o, err := hvp.New(net, synthetic(6, net.Input, true, net.Outputs), hvp.Options{BatchSize: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	_, _, err = o.Gradient(context.Background())
	var fault *hvp.NonFiniteError
	if !errors.As(err, &fault) || fault.Example != 0 || !strings.Contains(fault.Tensor, `the output of "transformer.h.1.mlp.c_proj"`) {
		t.Errorf("error %v", err)
	}
}

// TestNonFiniteData: a value of the data that is no number is the data's fault.
func TestNonFiniteData(t *testing.T) {
	net, err := zoo.Parse("mlp:20-16-8-5")
	if err != nil {
		t.Fatal(err)
	}
	zoo.Initialise(net, 1)
	for _, v := range []float64{math.NaN(), math.Inf(-1)} {
		data := synthetic(70, net.Input, false, net.Outputs)
		data.X = altered{data.X, 66, 7, v}
		o, err := hvp.New(net, data, hvp.Options{BatchSize: 32})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = o.Gradient(context.Background())
		var fault *hvp.DataError
		if !errors.As(err, &fault) || fault.Target || fault.Example != 66 || fault.Index != 7 {
			t.Errorf("error %v, want a *DataError for value 7 of example 66", err)
		}
		o.Close()
	}
}
