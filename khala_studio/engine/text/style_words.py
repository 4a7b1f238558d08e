"""The words people use for a style, and the tags they mean. Data only: `style.py` reads it."""

# slot -> tag -> other words for it, parted by commas. A tag that a pack lacks takes its words with it.
ALIASES: dict[str, dict[str, str]] = {
    "genre": {
        "hiphop": "hip hop, rap, trap, boom bap",
        "edm": (
            "electronic, electronica, electro, techno, house, trance, dance, dubstep, club, drum and bass"
        ),
        "rock": "metal, punk, grunge, hard rock, indie rock, rock and roll, rock n roll",
        "pop": "k pop, synthpop, synth pop, electropop, dance pop, indie pop, pop song",
        "ballad": "power ballad, love song, slow song, torch song",
        "folk": "singer songwriter, folky, campfire",
        "jazz": "swing, bebop, jazzy, big band",
        "country": "bluegrass, americana, western, nashville",
    },
    "voice": {
        "female": (
            "woman, women, girl, lady, female singer, female voice, female vocals, woman's, women's, "
            "girl's, soprano, alto"
        ),
        "male": (
            "man, men, boy, guy, male singer, male voice, male vocals, man's, men's, boy's, tenor, baritone"
        ),
    },
    "mood": {
        "happy": "cheerful, joyful, joyous, sunny, fun, uplifting, playful, bright, glad, hopeful",
        "sad": "melancholy, melancholic, heartbroken, sorrowful, mournful, lonely, gloomy, blue, tearful",
        "calm": (
            "relaxed, relaxing, peaceful, gentle, chill, soothing, tender, quiet, laid back, soft, "
            "mellow, smooth, lullaby"
        ),
        "energetic": (
            "upbeat, powerful, driving, excited, exciting, lively, intense, energy, anthemic, epic, angry"
        ),
        "dreamy": "ethereal, atmospheric, ambient, floating, hazy, dreamlike, airy",
        "dark": "moody, ominous, sinister, gothic, haunting, brooding, eerie",
    },
    "instrument": {
        "piano": "keys, keyboard, grand piano",
        "electric piano": "rhodes, e piano, wurlitzer",
        "organ": "hammond, church organ",
        "acoustic guitar": "acoustic, unplugged, nylon guitar, steel guitar, guitar, guitars",
        "electric guitar": (
            "electric guitars, distorted guitar, distorted guitars, heavy guitars, guitar riff, guitar solo"
        ),
        "strings": "orchestra, orchestral, string section, cello, cellos",
        "violin": "fiddle, violins",
        "saxophone": "sax",
        "trumpet": "brass, horns",
        "synth": "synthesizer, synthesiser, synths, synthesizers, synth pad, synth lead",
        "vibraphone": "vibes",
    },
    "kind": {
        "a cappella": (
            "acappella, a capella, acapella, unaccompanied, voice only, vocals only, voice alone, no "
            "band, no music"
        ),
        "instrumental": "no vocals, without vocals, no singing, no voice, without voice, instrumental only",
    },
}

# Beats a minute -> words for it.
TEMPO_WORDS = {
    60: "very slow, largo",
    70: "slow, slowly, adagio",
    85: "andante",
    100: "mid tempo, midtempo, medium tempo, moderate, moderato, medium",
    130: "allegro, quick",
    140: "fast, uptempo, up tempo",
    150: "very fast, presto",
}

# Before one of these, "warm" and the like are a voice.
VOICE_WORDS = frozenset(
    "voice voices vocal vocals singer singing sung female male woman man girl boy".split()
)

# Words that say nothing that a tag could.
FILLERS = frozenset(
    (
        "a an the and or with in of on by for to at from as is it i me my song songs music track tune "
        "style styled genre mood tempo key voice voices vocal vocals singer singing sung sing sings "
        "instrument instruments instrumentation feel feeling vibe sound sounds sounding like very "
        "really quite rather some bit little please make bpm beat beats minute per solo lead "
        "featuring duration mode tone"
    ).split()
)
