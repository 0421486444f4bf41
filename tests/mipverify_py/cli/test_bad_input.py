"""Mistakes: each gets exit code 3, one clear line on stderr, nothing on stdout, and no traceback."""

from __future__ import annotations

import os
import re
import shlex
import shlex
from pathlib import Path

import pytest

from mipverify_py.cli import ExitCode, run

MISTAKES = {
    # the command line itself
    'no model': ("- - e p s ' ' 0 . 1", 'No model is given; name an .onnx file or zoo:NAME'),
    'no input': ('m o d e l . o n n x', 'No input is given; name a file'),
    'too many words': ("m o d e l . o n n x ' ' x . n p y ' ' x . c s v", 'unexpected extra argument'),
    'unknown option': ("m o d e l . o n n x ' ' x . n p y ' ' - - e p s i l o n ' ' 1", 'No such option: --epsilon'),
    'option without its value': ("m o d e l . o n n x ' ' x . n p y ' ' - - e p s", "'--eps' requires an argument"),
    'eps in words': ("m o d e l . o n n x ' ' x . n p y ' ' - - e p s ' ' s m a l l", "'--eps': 'small' is not a number; it must be a radius"),
    'eps negative': ("m o d e l . o n n x ' ' x . n p y ' ' - - e p s ' ' - 0 . 1", '-0.1 is not allowed; it must be a radius that is at least'),
    'eps nan': ("m o d e l . o n n x ' ' x . n p y ' ' - - e p s ' ' n a n", 'nan is not allowed; it must be a radius that is at least 0'),
    'eps infinite': ("m o d e l . o n n x ' ' x . n p y ' ' - - e p s ' ' i n f", 'inf is not allowed; it must be a radius'),
    'margin infinite': ("m o d e l . o n n x ' ' x . n p y ' ' - - m a r g i n ' ' - i n f", "'--margin': -inf is not allowed; it must be a finite"),
    'label in words': ("m o d e l . o n n x ' ' x . n p y ' ' - - l a b e l ' ' c a t", "'cat' is not a whole number; it must be a zero-based"),
    'label negative': ("m o d e l . o n n x ' ' x . n p y ' ' - - l a b e l ' ' - 1", '-1 is not allowed; it must be a zero-based class'),
    'target not a class': ("m o d e l . o n n x ' ' x . n p y ' ' - - t a r g e t ' ' 1 , b", "'1,b' is not a class or a comma list of classes"),
    'target and not-target': ("m o d e l . o n n x ' ' x . n p y ' ' - - t a r g e t ' ' 1 ' ' - - n o t - t a r g e t ' ' 2", '--target and --not-target exclude each other'),
    'index in words': ("m o d e l . o n n x ' ' x . n p y ' ' - - i n d e x ' ' f i r s t", "'first' is not a list of indices; write single ones"),
    'index negative': ("m o d e l . o n n x ' ' x . n p y ' ' - - i n d e x ' ' - 1", "'-1' is not a list of indices"),
    'index with a step': ("m o d e l . o n n x ' ' x . n p y ' ' - - i n d e x ' ' 0 : 1 0 : 2", "'0:10:2' is not a list of indices"),
    'index backwards': ("m o d e l . o n n x ' ' x . n p y ' ' - - i n d e x ' ' 3 : 2", "the range '3:2' selects nothing"),
    'index empty': ('m o d e l . o n n x \' \' x . n p y \' \' - - i n d e x \' \' \'\'"\'"\'\' \'\'"\'"\'\'', "'' is not a list of indices"),
    'index without input': ("m o d e l . o n n x ' ' - - i n s p e c t ' ' - - i n d e x ' ' 0", '--index needs an input file or a --dataset'),
    'unknown data set': ("m o d e l . o n n x ' ' - - d a t a s e t ' ' s v h n", "'svhn' is unknown; choose from digits, mnist, cifar10"),
    'data set without index': ("m o d e l . o n n x ' ' - - d a t a s e t ' ' d i g i t s", '--dataset needs --index'),
    'data set and file': ("m o d e l . o n n x ' ' x . n p y ' ' - - d a t a s e t ' ' d i g i t s ' ' - - i n d e x ' ' 0", 'INPUT and --dataset exclude each other'),
    'mnist without folder': ("m o d e l . o n n x ' ' - - d a t a s e t ' ' m n i s t ' ' - - i n d e x ' ' 0", 'say with --data-dir where its files'),
    'digits with folder': ("m o d e l . o n n x ' ' - - d a t a s e t ' ' d i g i t s ' ' - - i n d e x ' ' 0 ' ' - - d a t a - d i r ' ' f o l d e r", '--dataset digits is bundled and takes no --data-dir'),
    'folder without data set': ("m o d e l . o n n x ' ' x . n p y ' ' - - d a t a - d i r ' ' f o l d e r", '--data-dir needs --dataset mnist'),
    'missing folder': ("m o d e l . o n n x ' ' - - d a t a s e t ' ' m n i s t ' ' - - i n d e x ' ' 0 ' ' - - d a t a - d i r ' ' a b s e n t", '--data-dir absent: there is no such folder'),
    'unknown backend': ("m o d e l . o n n x ' ' x . n p y ' ' - - b a c k e n d ' ' c p l e x", "'cplex' is unknown; choose from highs, scip, cbc"),
    'unknown engine': ("m o d e l . o n n x ' ' x . n p y ' ' - - e n g i n e ' ' s a t", "'sat' is unknown; choose from mip"),
    'unknown tightening': ("m o d e l . o n n x ' ' x . n p y ' ' - - t i g h t e n i n g ' ' s d p", "'sdp' is unknown; choose from interval, linear"),
    'timeout zero': ("m o d e l . o n n x ' ' x . n p y ' ' - - t i m e o u t ' ' 0", '0 is not allowed; it must be a number of seconds above 0'),
    'gap of one': ("m o d e l . o n n x ' ' x . n p y ' ' - - g a p ' ' 1", "'--gap': 1 is not allowed; it must be at least 0 and below 1"),
    'threads zero': ("m o d e l . o n n x ' ' x . n p y ' ' - - t h r e a d s ' ' 0", "'--threads': 0 is not allowed; it must be at least 1"),
    'threads a fraction': ("m o d e l . o n n x ' ' x . n p y ' ' - - t h r e a d s ' ' 1 . 5", "'1.5' is not a whole number"),
    'seed too large': ("m o d e l . o n n x ' ' x . n p y ' ' - - s e e d ' ' 2 1 4 7 4 8 3 6 4 8", '2147483648 is not allowed; it must be at least 0'),
    'quiet and verbose': ("m o d e l . o n n x ' ' x . n p y ' ' - q ' ' - v", '--quiet and --verbose exclude each other'),
    'domain of three': ("m o d e l . o n n x ' ' x . n p y ' ' - - d o m a i n ' ' 0 , 1 , 2", "'0,1,2' is neither LOW,HIGH (such as -1,1) nor"),
    'domain backwards': ("m o d e l . o n n x ' ' x . n p y ' ' - - d o m a i n ' ' 1 , 0", 'LOW and HIGH must be finite and LOW below HIGH'),
    'inspect radius without input': ("m o d e l . o n n x ' ' - - i n s p e c t ' ' - - e p s ' ' 1", '--inspect with --eps needs an input'),
    'inspect input without radius': ("m o d e l . o n n x ' ' x . n p y ' ' - - i n s p e c t", '--inspect with an input needs --eps'),
    'inspect and witness': ("m o d e l . o n n x ' ' - - i n s p e c t ' ' - - s a v e - w i t n e s s ' ' w . n p z", '--inspect computes no witness'),
    # files that are not there, or not what they should be
    'missing model': ("a b s e n t . o n n x ' ' x . n p y", 'absent.onnx: there is no such file'),
    'model is a folder': ("f o l d e r ' ' x . n p y", 'folder is a folder; name a file in it'),
    'unknown bundled model': ("z o o : v g g ' ' x . n p y", 'zoo:vgg: there is no such bundled model; choose from digits_'),
    'missing input': ("m o d e l . o n n x ' ' a b s e n t . n p y", 'absent.npy: there is no such file'),
    'unknown kind of input': ("m o d e l . o n n x ' ' x . t x t", "x.txt: files ending in '.txt' are not read as inputs; use one of"),
    'missing domain': ("m o d e l . o n n x ' ' x . n p y ' ' - - d o m a i n ' ' a b s e n t . n p z", '--domain absent.npz: there is no such file'),
    'witness of unknown kind': ("m o d e l . o n n x ' ' x . n p y ' ' - - s a v e - w i t n e s s ' ' w . t x t", 'must end in .npz or .png'),
    'witness without folder': ("m o d e l . o n n x ' ' x . n p y ' ' - - s a v e - w i t n e s s ' ' a b s e n t / w . n p z", '--save-witness absent/w.npz: the folder absent does not exist'),
    'witness is a folder': ("m o d e l . o n n x ' ' x . n p y ' ' - - s a v e - w i t n e s s ' ' f o l d e r . n p z /", '--save-witness folder.npz'),
    'not an image': ("m o d e l . o n n x ' ' n o t . p n g", 'not.png: is not a PNG or JPEG image'),
    'not an archive': ("m o d e l . o n n x ' ' n o t . n p z", 'not.npz: is not a sound .npz file'),
    'objects': ("m o d e l . o n n x ' ' o b j e c t s . n p y", 'objects.npy: holds Python objects, which are never unpickled'),
    'words in a table': ("m o d e l . o n n x ' ' w o r d s . c s v", "words.csv, line 1, column 1: 'a' is not a number"),
    'ragged table': ("m o d e l . o n n x ' ' r a g g e d . c s v", 'row 2 has 1 numbers and row 1 has 2'),
    'several arrays': ("m o d e l . o n n x ' ' t w o . n p z", 'holds 2 arrays (x, z); pick one, as in two.npz:NAME'),
    'no such array': ("m o d e l . o n n x ' ' t w o . n p z : y", "two.npz: has no array named 'y'; it holds x, z"),
    'data set cut off': ("m o d e l . o n n x ' ' - - d a t a s e t ' ' m n i s t ' ' - - d a t a - d i r ' ' m n i s t ' ' - - i n d e x ' ' 0", 'declares shape (10, 28, 28), 7840 bytes, but holds only 100'),
    'data set is not there': ("m o d e l . o n n x ' ' - - d a t a s e t ' ' m n i s t ' ' - - d a t a - d i r ' ' f o l d e r ' ' - - i n d e x ' ' 0", 'folder: has no t10k-images-idx3-ubyte nor'),
    'pickled data set': ("m o d e l . o n n x ' ' - - d a t a s e t ' ' c i f a r 1 0 ' ' - - d a t a - d i r ' ' c i f a r ' ' - - i n d e x ' ' 0", 'use the binary version'),
    'model is junk': ("j u n k . o n n x ' ' x . n p y", 'junk.onnx'),
    'model is cut off': ("c u t . o n n x ' ' x . n p y", 'cut.onnx'),
    # inputs that do not fit the model
    'wrong shape': ("m o d e l . o n n x ' ' w r o n g . n p y", 'wrong.npy has shape (5, 5) (25 entries); the model expects shape (1, 4, 4)'),
    'no inputs': ("m o d e l . o n n x ' ' e m p t y . n p y", 'empty.npy has shape (0, 1, 4, 4) and so no entries'),
    'image of another size': ("m o d e l . o n n x ' ' l a r g e . p n g", 'large.png has 1 channel of 7 x 7 pixels; the model expects'),
    'data set for another model': ("m o d e l . o n n x ' ' - - d a t a s e t ' ' d i g i t s ' ' - - i n d e x ' ' 0", 'An image of digits has 1 channel of 8 x 8 pixels; the model expects shape (1, 4, 4)'),
    'pixels up to 255': ("m o d e l . o n n x ' ' p i x e l s . n p y", 'Divide pixels in 0..255 by 255'),
    'below the domain': ("m o d e l . o n n x ' ' n e g a t i v e . n p y", "outside the model's domain [0, 1]"),
    'not a number': ("m o d e l . o n n x ' ' n a n . n p y", 'contains NaN or infinite values'),
    'label out of range': ("m o d e l . o n n x ' ' x . n p y ' ' - - l a b e l ' ' 3", 'Label 3 is out of range: the model has classes 0 to 2'),
    'target out of range': ("m o d e l . o n n x ' ' x . n p y ' ' - - t a r g e t ' ' 7", 'Target class 7 is out of range'),
    'target is the label': ("m o d e l . o n n x ' ' x . n p y ' ' - - l a b e l ' ' 1 ' ' - - t a r g e t ' ' 1", 'Target class 1 is the class that'),
    'no target left': ("m o d e l . o n n x ' ' x . n p y ' ' - - n o t - t a r g e t ' ' 0 , 1 , 2", 'No target class is left'),
    'index out of range': ("m o d e l . o n n x ' ' b a t c h . n p y ' ' - - i n d e x ' ' 1 : 4", '--index 3 is out of range: batch.npy has images 0'),
    'one of a batch is wrong': ("m o d e l . o n n x ' ' b a t c h . n p y ' ' - - l a b e l ' ' 9", 'batch.npy, index 0: Label 9 is out of range'),
    'domain of half': ("m o d e l . o n n x ' ' x . n p y ' ' - - d o m a i n ' ' h a l f d o m a i n . n p z", "has no array named 'upper'; it holds lower"),
    'domain crossed': ("m o d e l . o n n x ' ' x . n p y ' ' - - d o m a i n ' ' c r o s s e d . n p z", 'crossed.npz: Bounds of entry 0 cross'),
    'domain too short': ("m o d e l . o n n x ' ' x . n p y ' ' - - d o m a i n ' ' s h o r t . n p z", 'the model expects shape (1, 4, 4)'),
    'one output': ("o n e . o n n x ' ' x . n p y", 'a classifier needs at least two'),
    'picture of no image': ("f l a t . o n n x ' ' f i v e . n p y ' ' - - s a v e - w i t n e s s ' ' w . p n g", 'which is no image; save the witness as'),
    'picture beyond white': ("m o d e l . o n n x ' ' x . n p y ' ' - - d o m a i n ' ' - 1 , 1 ' ' - - s a v e - w i t n e s s ' ' w . p n g", 'A .png shows values from 0 to 1 and the domain goes beyond'),
}


@pytest.mark.parametrize(("words", "fragment"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_gets_one_clear_line(
    inside: Path, capsys: pytest.CaptureFixture[str], words: str, fragment: str
) -> None:
    before = sorted(path.name for path in inside.iterdir())
    assert run(shlex.split(words)) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert fragment in err
    assert re.fullmatch(r"verify: [^\n]+\n", err), err
    assert "Traceback" not in err
    assert "error for" not in err  # how pydantic, inside typer, begins its own messages
    assert sorted(path.name for path in inside.iterdir()) == before


def test_a_folder_that_may_not_be_written_to(
    inside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.access  # whoever runs as root may write anywhere, so the answer of the system is made up here
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))
    assert run(["model.onnx", "x.npy", "--save-witness", "w.npz"]) == ExitCode.USAGE
    assert capsys.readouterr().err == "verify: --save-witness w.npz: you may not write there.\n"


def test_a_solver_that_is_not_installed(
    inside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mipverify_py.backends import backend_class

    monkeypatch.setattr(backend_class("scip"), "is_installed", lambda: False)
    assert run(["model.onnx", "x.npy", "--backend", "scip"]) == ExitCode.USAGE
    assert 'pip install "mipverify-py[scip]"' in capsys.readouterr().err


def test_control_characters_do_not_reach_the_terminal(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["\x1b[31mred.onnx", "x.npy"]) == ExitCode.USAGE
    assert capsys.readouterr().err == "verify: \\x1b[31mred.onnx: there is no such file.\n"
