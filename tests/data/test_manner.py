"""Styles by rule: curves are bent as asked, and where there is no voice nothing is."""

import pytest
import torch

from glmtts.data.manner import MANNERS, Manner

F0 = torch.tensor([0.0, 100.0, 200.0, 400.0, 200.0, -3.0, 200.0, 200.0, 200.0])
ENERGY = torch.tensor([0.0, 2.0, 4.0, 2.0])


def test_nothing_asked_nothing_bent():
    torch.testing.assert_close(Manner().bend_pitch(F0), F0)
    torch.testing.assert_close(Manner().bend_energy(ENERGY), ENERGY)
    silent = torch.zeros(5)
    assert torch.equal(MANNERS["happy"].bend_pitch(silent), silent)


def test_pitch_moves_and_widens_around_its_median():
    torch.testing.assert_close(
        Manner(pitch=1.5).bend_pitch(F0)[:5], torch.tensor([0.0, 150.0, 300.0, 600.0, 300.0])
    )
    bent = Manner(spread=0.5).bend_pitch(F0)
    torch.testing.assert_close(bent[1:4], torch.tensor([200 / 2**0.5, 200.0, 200 * 2**0.5]))
    assert (bent[0], bent[5]) == (0.0, -3.0)


def test_the_end_rises_by_semitones():
    level = torch.full((31,), 200.0)
    bent = Manner(rise=12.0).bend_pitch(level)
    torch.testing.assert_close(bent[:20], level[:20])
    assert bent[-1] == pytest.approx(400.0)
    assert bool((bent[20:].diff() > 0).all())


def test_a_clip_climbs_around_its_middle():
    bent = Manner(tilt=24.0).bend_pitch(torch.full((31,), 200.0))
    assert (bent[0], bent[15], bent[-1]) == pytest.approx((100.0, 200.0, 400.0))


def test_silence_around_the_speech_moves_nothing():
    level, manner = torch.full((1, 31), 200.0), Manner(tilt=12.0, rise=12.0)
    padded = torch.cat([torch.zeros(1, 9), level, torch.zeros(1, 40)], dim=-1)
    torch.testing.assert_close(manner.bend_pitch(padded)[:, 9:40], manner.bend_pitch(level))


def test_energy_grows_and_gains_contrast():
    torch.testing.assert_close(
        Manner(contrast=2.0).bend_energy(ENERGY), torch.tensor([-2.0, 2.0, 6.0, 2.0])
    )
    moved = Manner(energy=1.0).bend_energy(ENERGY) - ENERGY
    torch.testing.assert_close(moved, torch.full((4,), float(ENERGY.std(correction=0))))


def test_the_styles_differ_as_people_do():
    happy, sad, angry, surprised = (MANNERS[n] for n in ("happy", "sad", "angry", "surprised"))
    assert happy.pitch > 1 > sad.pitch
    assert sad.tempo < 1 < angry.tempo
    assert angry.energy == max(m.energy for m in MANNERS.values())
    assert surprised.rise == max(m.rise for m in MANNERS.values())
