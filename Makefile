# make app: from a fresh clone to the page.   make test: everything installed, all tests.
# make photo DATA=folder: goes on training the photographic model (README, "Train your own").
# make priors: the comparison of the three priors, from drawing the portraits to the table (docs/evaluation.md).
# make space SPACE=me/sundae: what is committed, onto a Hugging Face Space (README, "On a Space").
# Needs Python 3.10 or newer, make, and the package registries.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Of make photo: a folder of aligned faces, the bundle to begin with, where everything goes, minutes of training for
# each part, and more settings for the trainers.
DATA ?=
FROM ?= weights/photo-1024
RUN ?= runs/photo
MINUTES ?= 120
TOKENIZER_ARGS ?=
ENCODE_ARGS ?= --augmentations 4
PRIOR_ARGS ?=
ENCODE = $(BIN)/python train/encode_dataset.py --tokenizer "$(FROM)" --data "$(DATA)" --held_out 0.1

# Of make priors: portraits to learn from, updates of the priors without unrolling (SUNDAE, whose every second update
# unrolls one step more, takes two thirds of them: as many passes of the network), and more for trainers and comparison.
PRIORS ?= runs/priors
PORTRAITS ?= 6144
STEPS ?= 1500
TRAIN_ARGS ?=
COMPARE_ARGS ?= --count 64 --holes 1 --training $(PORTRAITS)
OVER = --tokenizer weights/illustrated-1024
LEARN = $(BIN)/python train/train_prior.py $(OVER) --tokens "$(PRIORS)/tokens" --validation "$(PRIORS)/tokens-validation"
SHARE = $(BIN)/python train/export.py $(OVER) --overwrite true

# Of make space: the Space's name, another torch than that of requirements.txt, and where the tree is put together.
SPACE ?=
TORCH ?=
TREE ?= build/space

.PHONY: app test lint photo priors space clean

app: $(VENV)/run.done
	$(BIN)/python app.py --open $(ARGS)

# Two at a time, for two cores: most of the browser's tests beside all others, then beside the rest of them.
test: $(VENV)/dev.done
	@sh tests/install_chromium.sh
	@OMP_WAIT_POLICY=PASSIVE; export OMP_WAIT_POLICY; \
	$(BIN)/python -m pytest -q tests/browser/test_[hn-z]*.py $(ARGS) & pages=$$!; \
	$(BIN)/python -m pytest -q -p no:cacheprovider --ignore tests/browser $(ARGS); rest=$$?; \
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/browser/test_[!hn-z]*.py $(ARGS); first=$$?; \
	wait $$pages && exit $$((rest + first))

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# Encoder and codes stay as they are, so that tokens and prior fit the finer decoder. Repeat it to go on.
photo: $(VENV)/dev.done
	@test -d "$(DATA)" || { echo "expected a folder of aligned faces, as in: make photo DATA=faces" >&2; exit 2; }
	$(BIN)/python train/train_tokenizer.py --config train/configs/tokenizer-photo-finish.toml --data "$(DATA)" --start_from "$(FROM)" --out "$(RUN)/tokenizer" --max_minutes $(MINUTES) $(TOKENIZER_ARGS)
	$(ENCODE) --part training --out "$(RUN)/tokens" $(ENCODE_ARGS)
	$(ENCODE) --part held_out --out "$(RUN)/tokens-validation" $(ENCODE_ARGS)
	$(BIN)/python train/train_prior.py --config train/configs/prior-photo.toml --start_from "$(FROM)" --tokenizer "$(FROM)" --tokens "$(RUN)/tokens" --validation "$(RUN)/tokens-validation" --out "$(RUN)/prior" --max_minutes $(MINUTES) $(PRIOR_ARGS)
	$(BIN)/python train/export.py --tokenizer "$(RUN)/tokenizer" --prior "$(RUN)/prior" --out "$(RUN)/photo-1024" --overwrite true

# Whatever is there already is not done again: repeat it to go on.
priors: $(VENV)/dev.done
	$(BIN)/python train/encode_dataset.py $(OVER) --data portraits:0:$(PORTRAITS) --out "$(PRIORS)/tokens"
	$(BIN)/python train/encode_dataset.py $(OVER) --data portraits:10001000:64 --out "$(PRIORS)/tokens-validation"
	$(LEARN) --config train/configs/prior-illustrated.toml --steps $(shell expr $(STEPS) \* 2 / 3) --decay_from $(shell expr $(STEPS) \* 19 / 45) --out "$(PRIORS)/run-sundae" $(TRAIN_ARGS)
	$(LEARN) --config train/configs/prior-illustrated-absorbing.toml --steps $(STEPS) --decay_from $(shell expr $(STEPS) \* 19 / 30) --out "$(PRIORS)/run-absorbing" $(TRAIN_ARGS)
	$(LEARN) --config train/configs/prior-illustrated-autoregressive.toml --steps $(STEPS) --decay_from $(shell expr $(STEPS) \* 19 / 30) --out "$(PRIORS)/run-autoregressive" $(TRAIN_ARGS)
	for kind in sundae absorbing autoregressive; do $(SHARE) --prior "$(PRIORS)/run-$$kind" --out "$(PRIORS)/$$kind" || exit; done
	$(BIN)/python train/evaluate.py --compare "$(PRIORS)/sundae" "$(PRIORS)/absorbing" "$(PRIORS)/autoregressive" --out "$(PRIORS)/comparison" $(COMPARE_ARGS)

space: $(VENV)/run.done
	@test -n "$(SPACE)" || { echo "expected the name of a Space, as in: make space SPACE=me/sundae" >&2; exit 2; }
	rm -rf "$(TREE)" && mkdir -p "$(TREE)"
	git archive HEAD | tar -x -C "$(TREE)"
	$(if $(TORCH),sed 's/^torch==.*/torch==$(TORCH)/' requirements.txt > "$(TREE)/requirements.txt")
	$(BIN)/hf upload "$(SPACE)" "$(TREE)" . --repo-type space --delete '*'

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "expected Python 3.10 or newer, got " + sys.version)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.done: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/dev.done: requirements-dev.txt requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/run.done

clean:
	rm -rf $(VENV)
