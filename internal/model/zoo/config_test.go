package zoo_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/model/zoo"
	"hessdens/internal/tensor"
)

// configOf is the config.json of a directory of testdata with settings changed; nil takes one away.
func configOf(t *testing.T, dir string, change map[string]any) []byte {
	t.Helper()
	c := load[map[string]any](t, filepath.Join("huggingface", dir, "config.json"))
	for k, v := range change {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type change = map[string]any

// What is left out has the value that transformers gives it.
func TestConfigDefaults(t *testing.T) {
	for _, c := range []struct {
		dir    string
		change change
		want   string
	}{
		{"gpt2", change{"n_embd": nil, "n_head": nil, "n_layer": nil, "n_positions": nil, "vocab_size": nil}, "gpt2:layers=12,heads=12,width=768,context=1024,vocab=50257"},
		{"gpt2", change{"activation_function": "gelu_pytorch_tanh", "reorder_and_upcast_attn": true}, "gpt2:layers=2,heads=2,width=8,context=16,vocab=17"},
		{"gpt2", change{"activation_function": "relu", "scale_attn_weights": false, "n_inner": 32}, "gpt2:layers=2,heads=2,width=8,context=16,vocab=17,act=relu,scaled=false"},
		{"mistral", change{"num_key_value_heads": nil, "num_attention_heads": 8, "hidden_size": 16}, "llama:layers=2,heads=8,width=16,inner=12,context=16,vocab=17,window=3"},
		{"mistral", change{"sliding_window": nil}, "llama:layers=2,heads=4,kv_heads=2,width=8,inner=12,context=16,vocab=17,window=4096"},
		{"mistral", change{"sliding_window": json.RawMessage("null")}, "llama:layers=2,heads=4,kv_heads=2,width=8,inner=12,context=16,vocab=17"},
		{"llama", change{"rope_parameters": nil, "head_dim": nil}, "llama:layers=2,heads=4,kv_heads=2,width=8,inner=12,context=64,vocab=17"},
		{"llama", change{"rope_parameters": nil, "rope_theta": 5e5}, "llama:layers=2,heads=4,kv_heads=2,width=8,inner=12,context=64,vocab=17,head_dim=6,theta=500000"},
		{"llama", change{"rope_parameters": change{"rope_type": "default", "rope_theta": 7}, "num_key_value_heads": nil}, "llama:layers=2,heads=4,width=8,inner=12,context=64,vocab=17,head_dim=6,theta=7"},
		{"qwen2", change{"use_sliding_window": false, "layer_types": nil}, "llama:layers=2,heads=4,kv_heads=2,width=8,inner=12,context=16,vocab=17,bias=qkv,tied=true"},
		{"qwen2", change{"layer_types": nil, "max_window_layers": nil}, "llama:layers=2,heads=4,kv_heads=2,width=8,inner=12,context=16,vocab=17,window=2,full=2,bias=qkv,tied=true"},
		{"qwen2", change{"layer_types": []string{"sliding_attention", "sliding_attention"}}, "llama:layers=2,heads=4,kv_heads=2,width=8,inner=12,context=16,vocab=17,window=2,bias=qkv,tied=true"},
		{"qwen3", change{"head_dim": nil, "attention_bias": true}, "llama:layers=1,heads=4,kv_heads=2,width=8,inner=12,context=16,vocab=17,head_dim=128,bias=qkvo,qk_norm=true"},
		{"bert", change{"id2label": nil, "pad_token_id": json.RawMessage("null"), "hidden_act": "gelu_new"}, "bert:layers=2,heads=4,width=8,inner=12,context=16,vocab=17,classes=2,act=gelu_new,pad=none"},
		{"roberta", change{"pad_token_id": 3, "type_vocab_size": 1}, "roberta:layers=1,heads=4,width=8,inner=12,context=12,vocab=17,classes=2,types=1,act=relu2,pad=3"},
	} {
		n, err := zoo.FromConfig(configOf(t, c.dir, c.change), nil)
		if err != nil {
			t.Errorf("%s %v: %v", c.dir, c.change, err)
			continue
		}
		if n.Name != c.want {
			t.Errorf("%s %v:\n got %s\nwant %s", c.dir, c.change, n.Name, c.want)
		}
		if again := parse(t, n.Name); again.Name != n.Name || again.Size() != n.Size() {
			t.Errorf("%s is not what its name says: %s", n.Name, again.Name)
		}
	}
}

func TestConfigNotes(t *testing.T) {
	for _, c := range []struct {
		dir    string
		change change
		want   string
	}{
		{"bert", nil, "token 0 is padding"},
		{"roberta", nil, "token 1 is padding"},
		{"bert", nil, "first token type"},
		{"bert", change{"problem_type": "multi_label_classification"}, "--loss bce"},
		{"llama", change{"pad_token_id": 2}, "pad_token_id is 2"},
		{"llama", change{"architectures": nil}, "taken to be LlamaForCausalLM"},
		{"llama", change{"auto_map": change{"AutoModel": "modeling.Net"}}, "code of its own"},
	} {
		n, err := zoo.FromConfig(configOf(t, c.dir, c.change), nil)
		if err != nil || !strings.Contains(strings.Join(n.Notes, "\n"), c.want) {
			t.Errorf("%s %v: %v, %v; want %q", c.dir, c.change, n, err, c.want)
		}
	}
	for _, dir := range []string{"gpt2", "llama", "mistral", "qwen2"} {
		if n, err := zoo.FromConfig(configOf(t, dir, nil), nil); err != nil || len(n.Notes) > 0 {
			t.Errorf("%s: %v, %v", dir, n.Notes, err)
		}
	}
}

// The names of classes are those of id2label, where it has one for each.
func TestConfigLabels(t *testing.T) {
	for _, c := range []struct {
		labels any
		want   []string
	}{
		{change{"1": "POSITIVE", "0": "NEGATIVE"}, []string{"NEGATIVE", "POSITIVE"}},
		{change{"1": "POSITIVE", "2": "NEGATIVE"}, nil},
		{change{"0": 1, "1": "POSITIVE"}, nil},
		{nil, nil},
	} {
		n, err := zoo.FromConfig(configOf(t, "bert", change{"id2label": c.labels}), nil)
		if err != nil || !slices.Equal(n.Labels, c.want) {
			t.Errorf("%v: got %q, %v", c.labels, n.Labels, err)
		}
	}
}

// Settings that are wrong, or ask for what is not built in, are refused by name.
func TestConfigErrors(t *testing.T) {
	for _, c := range []struct {
		dir    string
		change change
		want   string
	}{
		{"gpt2", change{"model_type": "gemma"}, `model_type "gemma" is not known (known are bert, `},
		{"gpt2", change{"model_type": nil}, `model_type "" is not known`},
		{"gpt2", change{"model_type": 3}, `model_type is 3, not a text`},
		{"gpt2", change{"architectures": []string{"GPT2Model"}}, `architectures is ["GPT2Model"], and of this model_type GPT2LMHeadModel is built in`},
		{"gpt2", change{"architectures": "GPT2LMHeadModel"}, "architectures is"},
		{"gpt2", change{"architectures": []any{}}, "architectures is []"},
		{"gpt2", change{"n_embd": -8}, "n_embd is -8, not a number from 1"},
		{"gpt2", change{"n_embd": 0}, "n_embd is 0"},
		{"gpt2", change{"n_embd": 8.5}, "n_embd is 8.5"},
		{"gpt2", change{"n_embd": "8"}, `n_embd is "8"`},
		{"gpt2", change{"n_layer": int64(1) << 40}, "n_layer is 1099511627776"},
		{"gpt2", change{"n_head": 3}, "a width of 8 is no multiple of 3 heads"},
		{"gpt2", change{"n_embd": 1 << 24, "vocab_size": 1 << 24, "n_head": 1}, "more parameters than memory can hold"},
		{"gpt2", change{"activation_function": "xielu"}, `activation_function is "xielu", which is not built in (gelu, `},
		{"gpt2", change{"activation_function": 1}, "activation_function is 1, not a text"},
		{"gpt2", change{"layer_norm_epsilon": -1e-5}, "layer_norm_epsilon is -0.00001, not a number above 0"},
		{"gpt2", change{"layer_norm_epsilon": json.RawMessage("1e999")}, "layer_norm_epsilon is 1e999, not a number above 0"},
		{"gpt2", change{"tie_word_embeddings": "yes"}, "tie_word_embeddings"},
		{"gpt2", change{"add_cross_attention": true}, "add_cross_attention is true, which is not built in"},
		{"gpt2", change{"is_encoder_decoder": true}, "is_encoder_decoder is true"},
		{"gpt2", change{"quantization_config": change{"bits": 4}}, `quantization_config is {"bits":4}, which is not built in`},
		{"gpt2", change{"per_layer_config": change{"0": change{}}}, "per_layer_config is"},
		{"bert", change{"pruned_heads": change{"0": []int{1}}}, "pruned_heads is"},
		{"llama", change{"num_key_value_heads": 3}, "4 heads are no multiple of 3"},
		{"llama", change{"num_key_value_heads": 8}, "4 heads are no multiple of 8"},
		{"llama", change{"head_dim": 3}, "heads of 3 numbers cannot turn in pairs"},
		{"llama", change{"head_dim": nil, "hidden_size": 9}, "a width of 9 is no multiple of 4 heads"},
		{"llama", change{"vocab_size": nil}, "vocab_size is missing"},
		{"llama", change{"rms_norm_eps": 0}, "rms_norm_eps is 0"},
		{"llama", change{"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"},
		{"llama", change{"rope_parameters": "linear"}, `rope_parameters is "linear", not an object`},
		{"llama", change{"rope_parameters": change{"rope_type": "yarn", "factor": 2}}, `rope_parameters: rope_type "yarn" is not built in`},
		{"llama", change{"rope_parameters": nil, "rope_scaling": change{"type": "dynamic", "factor": 2}}, `rope_scaling: rope_type "dynamic" is not built in`},
		{"llama", change{"rope_scaling": change{"type": "linear"}}, "rope_scaling: factor is missing"},
		{"llama", change{"rope_scaling": change{"type": "linear", "factor": -1}}, "rope_scaling: factor is -1"},
		{"llama", change{"rope_parameters": change{"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}}, "high_freq_factor is not above low_freq_factor"},
		{"llama", change{"rope_parameters": change{"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "rope_parameters: partial_rotary_factor is 0.5"},
		{"mistral", change{"sliding_window": -3}, "sliding_window is -3"},
		{"qwen2", change{"layer_types": []string{"sliding_attention", "full_attention"}}, "layer_types is"},
		{"qwen2", change{"layer_types": []string{"full_attention"}}, "layer_types is"},
		{"qwen2", change{"layer_types": "full_attention"}, "layer_types is"},
		{"qwen2", change{"use_sliding_window": false, "layer_types": []string{"full_attention", "sliding_attention"}}, "no sliding_window"},
		{"qwen2", change{"max_window_layers": -1, "layer_types": nil}, "max_window_layers is -1"},
		{"bert", change{"position_embedding_type": "relative_key"}, `position_embedding_type is "relative_key", which is not built in`},
		{"bert", change{"is_decoder": true}, "is_decoder is true"},
		{"bert", change{"id2label": change{}}, "id2label is {}"},
		{"bert", change{"id2label": []string{"a"}}, "id2label is"},
		{"bert", change{"problem_type": "ranking"}, `problem_type "ranking" is not built in`},
		{"bert", change{"pad_token_id": 17}, "padding 17 is no token"},
		{"bert", change{"architectures": []string{"BertForMaskedLM"}}, "BertForSequenceClassification is built in"},
		{"roberta", change{"pad_token_id": json.RawMessage("null")}, "positions of a roberta count from its padding"},
		{"roberta", change{"max_position_embeddings": 2}, "2 positions leave no room"},
	} {
		_, err := zoo.FromConfig(configOf(t, c.dir, c.change), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "%!") {
			t.Errorf("%s %v: got %v, want %q", c.dir, c.change, err, c.want)
		}
	}
	for _, text := range []string{"", "null", "[]", `{"model_type": "gpt2"`, `{"model_type": "gpt2"} {}`, "\x00\x01", strings.Repeat(`{"a":`, 20000), strings.Repeat("[", 1<<20)} {
		if _, err := zoo.FromConfig([]byte(text), nil); err == nil {
			t.Errorf("%.20q is taken", text)
		}
	}
}

// FuzzFromConfig holds that no config.json makes a panic or an endless network, that a language model is what its name says, and that
// what is taken differentiates, but for images that are too small.
func FuzzFromConfig(f *testing.F) {
	names, err := filepath.Glob("testdata/huggingface/*/config.json")
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := zoo.FromConfig(text, nil)
		if err != nil {
			return
		}
		if again, err := zoo.Parse(n.Name); n.Tokens && (err != nil || again.Name != n.Name) {
			t.Errorf("%s is not what its name says: %v", n.Name, err)
		}
		if n.Tokens && n.Input[0] > 64 || tensor.Count(n.Input) > 1<<14 || n.Outputs < 2 || n.Size() > 1<<16 || len(n.Params) > 200 {
			return
		}
		m, err := n.Build(1, settings(n))
		if err != nil && n.Tokens || err == nil && m.Loss.Size() != 1 {
			t.Errorf("%s: %v", n.Name, err)
		}
	})
}

// Weights without settings: everything that names and shapes tell is in the specification that is asked for.
func TestRecogniseLanguageModels(t *testing.T) {
	for _, c := range []struct{ spec, want string }{
		{"llama:layers=2,heads=4,kv_heads=2,width=8,inner=12,context=16,vocab=17", "--model llama:layers=2,heads=H,kv_heads=K,width=8,inner=12,context=T,vocab=17 with H the number of heads, K = H/2, T the"},
		{"llama:layers=1,heads=4,width=8,inner=12,context=16,vocab=17,head_dim=6,bias=qkvo,mlp_bias=true,tied=true", "--model llama:layers=1,heads=H,width=8,inner=12,context=T,vocab=17,head_dim=D,bias=qkvo,mlp_bias=true,tied=true with H the number of heads, D = 24/H, T the"},
		{"llama:layers=2,heads=4,kv_heads=1,width=8,inner=12,context=16,vocab=17,bias=qkv,tied=true", "--model llama:layers=2,heads=H,kv_heads=K,width=8,inner=12,context=T,vocab=17,bias=qkv,tied=true with H the number of heads, K = H/4, T the"},
		{"llama:layers=2,heads=4,kv_heads=2,width=8,inner=12,context=16,vocab=17,head_dim=6,qk_norm=true", "--model llama:layers=2,heads=4,kv_heads=2,width=8,inner=12,context=T,vocab=17,head_dim=6,qk_norm=true with T the"},
		{"llama2c:layers=2,heads=4,width=8,inner=12,context=16,vocab=17,tied=true", "--model llama2c:layers=2,heads=H,width=8,inner=12,context=T,vocab=17,tied=true with H the number of heads, T the"},
		{"bert:layers=2,heads=4,width=8,inner=12,context=16,vocab=17,classes=3", "--model bert:layers=2,heads=H,width=8,inner=12,context=16,vocab=17,classes=3 with H"},
		{"roberta:layers=2,heads=4,width=8,inner=12,context=16,vocab=17,classes=3,types=1", "--model roberta:layers=2,heads=H,width=8,inner=12,context=16,vocab=17,classes=3,types=1 with H"},
		{"distilbert:layers=2,heads=4,width=8,inner=12,context=16,vocab=17,classes=3", "--model distilbert:layers=2,heads=H,width=8,inner=12,context=16,vocab=17,classes=3 with H"},
		{"gpt2:layers=1,heads=2,width=8,context=16,vocab=17,inner=12", "--model gpt2:layers=1,heads=H,width=8,context=16,vocab=17,inner=12 with H"},
	} {
		es := tensorsOf(t, c.spec)
		slices.Reverse(es)
		if _, err := zoo.Recognise(es); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.spec, err, c.want)
		}
		setZeros(t, parse(t, c.spec), es)
		if _, err := zoo.Recognise(append(es, zoo.Entry{Name: "extra", Shape: []int{1}})); err == nil || !strings.Contains(err.Error(), "and are not: extra: not in the network") {
			t.Errorf("%s and an extra tensor: %v", c.spec, err)
		}
	}
}

// Names that files have beside those of the network's tensors.
func TestLanguageModelNames(t *testing.T) {
	llama := "llama:layers=1,heads=2,width=8,inner=12,context=16,vocab=17,tied=true"
	for _, c := range []struct {
		spec, extra string
		shape       []int
		rename      []string
	}{
		{llama, "lm_head.weight", []int{17, 8}, nil},
		{llama, "model.layers.0.self_attn.rotary_emb.inv_freq", []int{2}, nil},
		{llama, "layers.0.self_attn.rotary_emb.inv_freq", []int{2}, []string{"model.", ""}},
		{"llama2c:layers=1,heads=2,width=8,inner=12,context=16,vocab=17,tied=true", "output.weight", []int{17, 8}, nil},
		{"llama2c:layers=1,heads=2,width=8,inner=12,context=16,vocab=17", "rope.freqs", []int{2}, nil},
		{"bert:layers=1,heads=2,width=8,inner=12,context=16,vocab=17,classes=2", "bert.embeddings.position_ids", []int{1, 16}, []string{"LayerNorm.weight", "LayerNorm.gamma", "LayerNorm.bias", "LayerNorm.beta"}},
	} {
		setZeros(t, parse(t, c.spec), append(tensorsOf(t, c.spec, c.rename...), zoo.Entry{Name: c.extra, Shape: c.shape}))
	}
}

func TestParseLanguageModelErrors(t *testing.T) {
	const llama = "llama:layers=1,heads=2,width=8,inner=12,context=16,vocab=17"
	const bert = "layers=1,heads=2,width=8,inner=12,context=16,vocab=17,classes=2"
	for spec, want := range map[string]string{
		"llama":                         "layers=… is missing",
		llama + ",kv_heads=3":           "2 heads are no multiple of 3",
		llama + ",kv_heads=-1":          "kv_heads=-1 is not a number",
		llama + ",head_dim=5":           "cannot turn in pairs",
		llama + ",eps=0":                "eps=0 is not a number above 0",
		llama + ",eps=NaN":              "eps=NaN is not a number above 0",
		llama + ",theta=-1":             "theta=-1 is not a number above 0",
		llama + ",theta=1e999":          "theta=1e999 is not a number above 0",
		llama + ",window=0":             "window=0 is not a number",
		llama + ",bias=some":            "none of none, qkv, qkvo",
		llama + ",act=swoosh":           "act=swoosh is not built in (gelu, ",
		llama + ",rope=yarn:2":          "rope=yarn:2 is neither",
		llama + ",rope=linear":          `"" is not a number above 0`,
		llama + ",rope=linear:2:3":      "is neither linear:FACTOR",
		llama + ",rope=llama3:8:4:1:32": "is neither linear:FACTOR",
		"gpt2:layers=1,heads=1,width=4,context=4,vocab=3,tied=perhaps":         "neither true nor false",
		"bert:" + bert + ",pad=17":                                             "padding 17 is no token",
		"bert:" + bert + ",pad=-1":                                             "pad=-1 is no token",
		"bert:" + bert + ",heads2=1":                                           "unknown option",
		"distilbert:" + bert + ",eps=1":                                        "unknown option",
		"distilbert:" + bert + ",types=1":                                      "unknown option",
		"roberta:" + bert + ",pad=none":                                        "pad=none is no token",
		"bert:layers=1,heads=3,width=8,inner=12,context=16,vocab=17,classes=2": "no multiple of 3 heads",
	} {
		if _, err := zoo.Parse(spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", spec, err, want)
		}
	}
	for _, name := range []string{"swish", "gelu_python", "gelu_fast", "quick_gelu", "relu2", "sigmoid", "tanh"} {
		n := parse(t, fmt.Sprintf("%s,act=%s", llama, name))
		if _, err := n.Build(1, settings(n)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
