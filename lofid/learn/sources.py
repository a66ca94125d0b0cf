"""The public data sets that lofid learns from, and whom to credit for them."""

from lofid.rwkv.weights import DataSource

SOURCES: dict[str, DataSource] = {
    source.name: source
    for source in (
        DataSource(
            "keys_pop909",
            "MIT",
            "POP909: Z. Wang, K. Chen, J. Jiang, Y. Zhang, M. Xu, S. Dai, G. Bin, G. Xia (ISMIR "
            "2020); POP909-CL: M. Yao, K. Chen, S. Dubnov, T. Berg-Kirkpatrick (ICASSP 2026)",
        ),
        DataSource(
            "leadsheets_openewld",
            "MIT (database), public domain (scores)",
            "OpenEWLD: F. Simonetta, F. Carnovalini, N. Orio, A. Roda (Audio Mostly 2018)",
        ),
        DataSource("chords_free_midi", "MIT", "free-midi-chords: Ludovic Drolez"),
        DataSource(
            "lofi_magenta_player",
            "Apache-2.0",
            "Lo-Fi Player: Vibert Thio, Google Magenta (2020)",
        ),
        DataSource(
            "drums_gmd",
            "CC BY 4.0",
            "Groove MIDI Dataset: J. Gillick, A. Roberts, J. Engel, D. Eck, D. Bamman (ICML 2019)",
        ),
        DataSource(
            "folk_ceol_rince",
            "CC BY 4.0",
            "Ceol Rince na hEireann MIDI corpus: D. Diamond, A. Shahid and others (Polifonia)",
        ),
        DataSource(
            "harmony_mcgill_billboard",
            "CC0 1.0",
            "McGill Billboard 2.0: J. A. Burgoyne, J. Wild, I. Fujinaga, 'An Expert Ground Truth "
            "Set for Audio Chord Recognition and Music Analysis' (ISMIR 2011)",
        ),
        DataSource(
            "form_rs200",
            "CC BY 4.0 (told second-hand: for counts alone)",
            "RS200: T. de Clercq, D. Temperley, 'A corpus analysis of rock harmony', Popular Music "
            "30/1 (2011)",
        ),
        DataSource(
            "keys_openscore_lieder",
            "CC0 1.0",
            "OpenScore Lieder Corpus: M. R. H. Gotham, P. Jonas and volunteers (MEC 2021)",
        ),
        DataSource(
            "drums_stickflow", "CC0 1.0 / CC BY 4.0", "StickFlow, https://www.stickflow.app"
        ),
    )
}
"""By name of the archive."""
