"""Makes the tokenizers of this folder and what they make of texts, by the library that defines tokenizer.json:

    pip install tokenizers && python make.py

cases.json: texts; for each tokenizer the tokens of each text without and with special tokens, and cut or padded to twelve; the ranges of characters c that this
Python's unicodedata knows (one in 64 of Han and Hangul); and for each block of 4096 of them the CRC-32 of the lengths in bytes
(little-endian int32) of the words that the normalizer and the pre-tokenizer make of probe(c)."""
import json, os, random, struct, unicodedata, zlib
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXT = """First Citizen: Before we proceed any further, hear me speak. All: Speak, speak. You are all resolved rather to die than to famish?
We are accounted poor citizens, the patricians good. What authority surfeits on would relieve us: if they would yield us but
the superfluity, while it were wholesome, we might guess they relieved us humanely; but they think we are too dear.
naïve café Straße Ångström “quoted” — dash… 東京都 漢字かな交じり文 한국어 텍스트 Привет, мир! Ελληνικά שלום मरहबा नमस्ते ไทย 👩‍👩‍👧‍👦 🇩🇪 ﬁ ½ x²
12345 1,234.56 it's we'll I'M CAN'T  double   triple\t\ttabs\r\n\r\n  end  \n"""
PIECES = ["naïve café", "Straße", "“quoted” — dash…", "東京都", "漢字かな", "한국어", "Привет, мир!", "Ελληνικά ΣΑΣ", "שָׁלוֹם", "नमस्ते", "ไทย", "👩‍👩‍👧‍👦", "🇩🇪", "ﬁ", "½", "x²",
          "a\u0310e\u0301o\u0308", "İstanbul", "ǅ", "\u00a0nbsp", "\u3000wide", "\u200bzw", "\u2028ls", "\u0085nel", "\x00nul", "\x07bell", "\ufffdrep", "\ufeffbom", "12345",
          "1,234.56", "it's", "we'll", "I'M", "CAN'T", "'Re", "’s", " ", "  ", "   ", "\t", "\n", "\r\n", "\n\n\n", " \n ", "_under_", "##a", "[CLS]", "[MASK]", "[UNK]", "<mask>", "<s>", "</s>", "<pad>",
          "<|endoftext|>", "<|begin_of_text|>", "'ſ", "\u212a", "\u212b", "٣٤٥", "Ⅷ", "①", "\U0001d400", "\U000e0041", "\ue000", "ẞ", "Σ", "ΐ", "ǆ", "\u1100\u1161", "\u0344", "\u0f73", "\uf900", "\U0002f800",
          "~", "`", "^", "|", "$", "+", "<", ">", "=", "\u00ad", "\u061c", "\u180e", "\u2060", "e\u0301\u0323", "q\u0307\u0323", "''", "'s's", "\x1f", "\x7f", "\u00b7", "\u2e3c", "\uff0c",
          "A" * 120, "x" * 99 + " y", "ab" * 51, "ﷺ", "\u07fd\u0301", "\u1df6\u0323", "\u2e52", "\U00011935\U00011930", "\U0001e900", "a1b22c333", " the", "the"]
LLAMA = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SIZE = 480
here = os.path.dirname(os.path.abspath(__file__))


def bytelevel(pre, special, normalizer=None, post=None, **model):
    t = Tokenizer(models.BPE(**model))
    t.pre_tokenizer, t.decoder = pre, decoders.ByteLevel()
    if normalizer:
        t.normalizer = normalizer
    t.train_from_iterator([TEXT] * 4, trainers.BpeTrainer(vocab_size=SIZE, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.post_processor = post(t) if post else processors.ByteLevel(trim_offsets=False)
    return t


def wordpiece(normalizer, post):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer, t.decoder = normalizer, pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    t.train_from_iterator([TEXT] * 4, trainers.WordPieceTrainer(vocab_size=SIZE, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
    t.post_processor = post
    return t


def template(single, tokens):
    return lambda t: processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(single=single, pair=None, special_tokens=[(s, t.token_to_id(s)) for s in tokens])])


byte, split = pre_tokenizers.ByteLevel, pre_tokenizers.Split
made = {
    "gpt2": bytelevel(byte(add_prefix_space=False), ["<|endoftext|>"]),
    "llama3": bytelevel(pre_tokenizers.Sequence([split(Regex(LLAMA), "isolated"), byte(add_prefix_space=False, use_regex=False)]), ["<|begin_of_text|>", "<|end_of_text|>"],
                        post=template("<|begin_of_text|> $A", ["<|begin_of_text|>"]), ignore_merges=True),
    "qwen2": bytelevel(pre_tokenizers.Sequence([split(Regex(LLAMA.replace(r"\p{N}{1,3}", r"\p{N}")), "removed", invert=True), byte(add_prefix_space=False, use_regex=False)]), ["<|endoftext|>"], normalizer=normalizers.NFC()),
    "smollm": bytelevel(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte(add_prefix_space=False)]), ["<|endoftext|>"]),
    "roberta": bytelevel(byte(add_prefix_space=True), ["<s>", "<pad>", "</s>", "<unk>"], post=lambda t: processors.RobertaProcessing(("</s>", 2), ("<s>", 0))),
    "bert": wordpiece(normalizers.BertNormalizer(lowercase=True), processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])),
    "bert-cased": wordpiece(normalizers.Sequence([normalizers.BertNormalizer(lowercase=False, strip_accents=True)]), processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))),
}
made["roberta"].add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
made["bert"].add_tokens([AddedToken("Any Citizen", normalized=True, rstrip=True)])
for name, t in made.items():
    t.save(os.path.join(here, name + ".json"), pretty=False)
# The form of older files: merges as strings, no type of the model, and no use_regex.
old = json.load(open(os.path.join(here, "gpt2.json")))
old["model"]["merges"] = [" ".join(m) for m in old["model"]["merges"]]
for key in ("type", "ignore_merges", "byte_fallback"):
    del old["model"][key]
del old["pre_tokenizer"]["use_regex"]
json.dump(old, open(os.path.join(here, "old.json"), "w"), ensure_ascii=False)
made["old"] = Tokenizer.from_file(os.path.join(here, "old.json"))


def probe(c):
    return f"A{c}1{c}-{c} {c}\u0308{c}'s"


random.seed(1)
known = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs") and c < 0xf0000]
marks = [c for c in known if unicodedata.category(chr(c)) == "Mn"]
texts = PIECES + [TEXT, "any citizen  of Any Citizen"]
texts += ["".join(random.choice(PIECES[:-12]) + random.choice(["", " ", "", "\n"]) for _ in range(random.randint(2, 8))) for _ in range(60)]
texts += ["".join(chr(random.choice([random.randrange(32, 127), random.choice(known), random.choice(marks)])) for _ in range(random.randint(2, 12))) for _ in range(60)]
known = [c for c in known if c % 64 == 0 or not (0x3400 <= c <= 0x9fff or 0xac00 <= c <= 0xd7a3 or 0x20000 <= c < 0x40000)]
ranges = []
for c in known:
    if ranges and ranges[-1][1] == c - 1:
        ranges[-1][1] = c
    else:
        ranges.append([c, c])
out = {"texts": texts, "characters": ranges, "tokenizers": {}}
for name, t in made.items():
    blocks = {}
    for c in known:
        text = t.normalizer.normalize_str(probe(chr(c))) if t.normalizer else probe(chr(c))
        words = [w for w, _ in t.pre_tokenizer.pre_tokenize_str(text)]
        lengths = [len(w) if isinstance(t.model, models.BPE) else len(w.encode()) for w in words]
        blocks[c >> 12] = zlib.crc32(struct.pack(f"<{len(lengths)}i", *lengths), blocks.get(c >> 12, 0))
    out["tokenizers"][name] = {"plain": [t.encode(x, add_special_tokens=False).ids for x in texts], "special": [t.encode(x).ids for x in texts[:20]], "blocks": blocks}
for name, pad in (("bert", "[PAD]"), ("roberta", "<pad>")):
    t = made[name]
    t.enable_truncation(12)
    t.enable_padding(length=12, pad_id=t.token_to_id(pad), pad_token=pad)
    out["tokenizers"][name]["twelve"] = [t.encode(x).ids for x in texts[:60]]
json.dump(out, open(os.path.join(here, "cases.json"), "w"), separators=(",", ":"))
