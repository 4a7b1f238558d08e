"""English spelling -> phones by rule, for words that no lexicon has.

The rules are our own compact table in the spirit, and in the notation, of H. S. Elovitz, R. W. Johnson,
A. McHugh and J. E. Shore, "Automatic Translation of English Text to Phonetics by Means of Letter-to-Sound
Rules", Naval Research Laboratory Report 7948, 1976 (public domain). A rule "left[letters]right=PHONES" fires
where the letters stand between its contexts; of the rules for a letter the first that fits wins. In contexts:

    #  one or more vowels          :  any number of consonants     ^  one consonant
    +  e, i or y                   %  an ending: e er es ed ing ely  _  the word's edge
    .  a voiced consonant          &  a hissing sound              @  a consonant after which u is "oo"

AX is a vowel that bears no stress; ae eh ih aa are blurred unless stressed. Stress is set last, by the word's
ending and its number of vowels. Against the CMU Pronouncing Dictionary (words of 3 letters and more, names
included, a sample the rules were not tuned on) 16 % of the phones are wrong, 22 % when stress counts.
"""

import re
from functools import lru_cache
from typing import NamedTuple

_TABLE = """
_[are]_=AA R, _[ar]o=AX R, _[a]lo=AX, _[a]w=AX, _[a]cc=AE, _[a]ro=AX, [air]=EH R, [aigh]=EY, [ai]=EY,
[augh]=AO, [au]=AO, [aw]=AO, [ay]=EY, [aa]=AA, [ah]=AA, [ae]=EY, [ation]=EY SH AX N, [ange]_=EY N JH,
[ang]+=EY N JH, _[as]#=AE Z, #:[age]_=IH JH, #:[ag]e=IH JH, #:[ally]_=AX L IY, _:[able]=EY B AX L,
#:[able]=AX B AX L, #:[al]_=AX L, #:[als]_=AX L Z, #:[ary]_=EH R IY, #:[ant]_=AX N T, #:[ance]_=AX N S,
#:[ard]_=ER D, #:[ars]_=ER Z, #:[ace]_=AX S, #:[ate]_=EY T, #:[ates]_=EY T S, #:[ated]_=EY T IH D,
#:[ator]=EY T ER, #:[ating]_=EY T IH NG, #:[ative]_=AX T IH V, #:[an]_=AX N, [are]_=EH R, [ares]_=EH R Z,
w[ar]_=AO R, w[ar]^=AO R, [arr]#=EH R, #:[ar]_=ER, [ar]#=EH R, [ar]=AA R, [alk]=AO K, [al]m_=AA, [a]lt=AO,
[all]_=AO L, [all]s_=AO L, [ald]=AO L D, w[a]sh=AA, w[a]t=AO, w[a]n=AA, w[a]l=AO, w[a]s=AA, squ[a]=AA,
qu[a]l=AA, qu[a]n=AA, [a]ste=EY, [a]^le_=EY, [a]^io=EY, [a]^ia=EY, [a]^iou=EY, :[a]^^+=AE, [a]^%_=EY,
[a]^+_=EY, _:[a]^#=AE, [a]_=AX, #:[a]^#=ae, [a]^#=AE, [a]=AE
[bb]=B, m[b]_=, m[b]s_=, [bt]_=T, _[be]^#=B IH, [buil]=B IH L, [busi]=B IH Z, [b]=B
[ch]ron=K, _[ch]r=K, ar[ch]i=K, or[ch]=K, s[ch]=K, y[ch]=K, e[cho]=K OW, [ch]e_=SH, [cch]=K, [ch]=CH,
[ck]=K, [ci]a=SH, [ci]o=SH, [ci]ent=SH, [ce]an=SH, [cious]=SH AX S, s[c]+=, [cc]+=K S, [cc]=K, [cz]=CH,
[cq]=K, [c]+=S, [c]'=S, [c]=K
[dge]_=JH, [dg]=JH, [dj]=JH, [dd]=D, #:ke[d]_=T, #:pe[d]_=T, #:sse[d]_=T, #:che[d]_=T, #:she[d]_=T,
#:xe[d]_=T, #:ce[d]_=T, [dt]_=T, #:[d]ure=JH, #:[d]ua=JH, _[de]^#=D IH, we[d]nes=, [d]=D
d[ed]_=IH D, _[eye]=AY, [eau]=OW, [eigh]=EY, [eir]_=EH R, [ein]_=IY N, [eing]=IY IH NG, c[ei]=IY, [ei]=AY,
[eer]=IH R, [ee]=IY, [ear]ch=ER, [ear]n=ER, [ear]th=ER, _h[ear]t=AA R, [ear]=IH R, [ead]y=EH D,
br[ead]=EH D, d[ead]=EH D, h[ead]=EH D, tr[ead]=EH D, spr[ead]=EH D, thr[ead]=EH D, [ea]ther=EH,
[ea]lth=EH, [ea]nt_=EH, [ea]sure=EH, [ea]v+=EH, gr[ea]t=EY, br[ea]k=EY, #:[ea]_=IY AX, [eal]_=IY L,
[ea]=IY, [ewe]=UW, @[ew]=UW, [ew]=Y UW, [eu]r=UH, @[eu]=UW, [eu]=Y UW, _k[ey]=IY, gr[ey]=EY, th[ey]=EY,
ob[ey]=EY, surv[ey]=EY, [ey]_=IY, [eys]_=IY Z, [ey]=EY, _[ex]#=IH G Z, _[exh]#=IH G Z, _[ex]=IH K S,
_[e]ver=EH, _[e]mb=IH, _[en]^^=EH N, _[e]qu=IH, _[ele]=EH L AX, _[e]lec=IH, _[e]v#=IH, _[e]m#=IH,
_[eur]o=Y UH R, #:[ely]_=L IY, #:[ement]=M AX N T, #:[efu]l=F AX, #:[eless]=L AX S, #:[eness]=N AX S,
#:[ent]_=AX N T, #:[ence]_=AX N S, #:[ents]_=AX N T S, #:[el]_=AX L, #:[els]_=AX L Z, #:[en]_=AX N,
#:[ens]_=AX N Z, #:[ess]_=AX S, #:[et]_=AX T, #:[ets]_=AX T S, #:[est]_=AX S T, t[ed]_=IH D, #:[e]d_=,
t[ed]ly=IH D, #:&[es]_=IH Z, #:ch[es]_=IH Z, #:sh[es]_=IH Z, #:x[es]_=IH Z, #:th[es]_=Z, #:[e]s_=,
[ere]_=IH R, [ery]_=ER IY, v[ery]=EH R IY, [erie]s_=ER IY, [err]=EH R, [eri]#=IH R IY, [er]#=EH R,
#:[er]#=ER, [er]=ER, _:[e]_=IY, #:[e]_=, #:[e]ly=, #[e]n_=AX N, [e]o=IY, [e]a=IY, [e]^ia=IY, [e]^iou=IY,
[e]te_=IY, [e]ne_=IY, [e]se_=IY, [e]me_=IY, [e]ve_=IY, _:[e]^#=EH, #:[e]^#=eh, [e]^^=EH, [e]=EH
[ful]_=F AX L, [ff]=F, [f]=F
_[gh]=G, [gh]=, [gg]es=G JH, [gg]=G, _[gee]se=G IY, _[gn]=N, [gn]_=N, [gne]_=N, [gue]_=G, [gues]_=G Z,
[gu]+=G, _[giv]=G IH V, _[get]=G EH T, _[gi]rl=G, _[gear]=G IH R, _[gei]=G AY, er[g]_=G, [g]er_=G,
[ge]_=JH, [g]+=JH, [g]=G
_[hour]=AW ER, _[hei]r=EH, _[hon]est=AA N, _[hon]or=AA N, [h]#=HH, _[h]=HH, [h]=
_[i]_=AY, n[ine]ty=AY N, _[in]=IH N, _[iso]=AY S AX, _[iro]n=AY ER, [ious]=IY AX S, [ieu]=UW, [igh]=AY,
[ign]_=AY N, [igns]_=AY N Z, [ign]ed=AY N, [ild]_=AY L D, [ilds]_=AY L D Z, [ind]_=AY N D, [inds]_=AY N D Z,
[inding]_=AY N D IH NG, [ique]_=IY K, [isle]=AY L, [ier]_=IY ER, _:[ied]_=AY D, _:[ies]_=AY Z, [ied]_=IY D,
[ies]_=IY Z, [ief]=IY F, [iev]=IY V, [ield]=IY L D, [ie]t=AY AX, [ie]_=IY, [ien]=IY AX N, [ie]=IY,
#:[iage]_=IH JH, [ia]_=IY AX, _:[ia]=AY AX, [ian]=IY AX N, [ia]=IY AX, _:[io]=AY AX, [io]=IY OW,
[iu]m=IY AX, [i]u=IY, #:[ing]_=IH NG, #:[ings]_=IH NG Z, #:[ine]_=IY N, #:[ile]_=AX L, #:[ive]_=IH V,
#:[ives]_=IH V Z, #:[ite]_=AY T, #:[ice]_=AX S, #:[ize]_=AY Z, [ize]=AY Z, [ise]_=AY Z, #:[ity]_=AX T IY,
#:[ify]_=AX F AY, #:[ible]_=AX B AX L, #:[ical]=IH K AX L, #:[il]_=AX L, [ire]=AY R, [irr]=IH R,
[ir]#=IH R, [ir]=ER, _:[i]^%_=AY, _:[i]^ed=AY, _:[i]^le_=AY, [i]^e_=AY, [i]^es_=AY, _b[i]^#=AY,
_tr[i]^#=AY, _:[i]^#=IH, #:[i]no_=IY, #:[i]na_=IY, #:[i]ni_=IY, #:[i]ta_=IY, #:[i]to_=IY, #:[i]^#=ih,
_:[i]z_=IH, [i]_=IY, [i]=IH, _m[is]^=IH S, _d[is]#=IH S
[j]=JH
_[kn]=N, [kk]=K, [kh]=K, [k]=K
#:^[le]_=AX L, #:^[les]_=AX L Z, #:^[led]_=AX L D, #:^[ler]_=L ER, #:^[ling]_=L IH NG, [ll]=L, [l]=L
#:[man]_=M AX N, _[mc]=M AX K, _[mac]^=M AX K, _[mov]=M UW V, [mm]=M, _[mn]=N, [mn]_=M, [m]=M
[ng]le=NG G, [ng]er_=NG ER, [ng]ing_=NG, [ng]ed=NG, [ng]+=N JH, [ng]th=NG K, [ng]_=NG, [ngs]_=NG Z,
[ng]#=NG G, [ng]r=NG G, [ng]l=NG G, [ng]u=NG G, [ng]=NG, [n]k=NG, [n]x=NG, _i[n]c=N, a[n]c#=N, [n]q=NG,
[nn]=N, [n]=N, [n]se=N
_[one]=W AH N, _[once]=W AH N S, _[over]=OW V ER, _[other]=AH DH ER, _[of]_=AH V, [oar]=AO R, [oa]=OW,
_sh[oe]=UW, [oe]_=OW, [oes]_=OW Z, [oe]=OW, [oi]=OY, [oy]=OY, [ook]=UH K, g[ood]=UH D, w[ood]=UH D,
st[ood]=UH D, h[ood]=UH D, f[oot]=UH T, bl[ood]=AH D, fl[ood]=AH D, [oor]=AO R, [oo]=UW, [ought]=AO T,
thr[ough]=UW, th[ough]=OW, b[ough]=AW, r[ough]=AH F, t[ough]=AH F, en[ough]=AH F, c[ough]=AO F, [ough]=OW,
[ould]=UH D, [oup]=UW P, y[our]_=AO R, y[ou]=UW, [ous]_=AX S, [ously]=AX S L IY, [ousness]=AX S N AX S,
h[our]=AW ER, s[our]_=AW ER, [our]n=ER, [our]=AO R, t[ouch]=AH CH, c[ou]ntr=AH, c[ou]pl=AH, d[oub]l=AH B,
tr[oub]l=AH B, [oul]=OW L, [oux]_=UW, [ouse]_=AW S, [ou]=AW, [ow]n_=OW, d[ow]n=AW, t[ow]n=AW, br[ow]n=AW,
cr[ow]n=AW, dr[ow]n=AW, cl[ow]n=AW, fr[ow]n=AW, g[ow]n=AW, [ow]er=AW, [ow]d=AW, [ow]l=AW, _n[ow]_=AW,
_h[ow]=AW, _c[ow]=AW, _v[ow]=AW, br[ow]_=AW, pl[ow]=AW, all[ow]=AW, [ow]s+=AW, [ow]=OW, [orough]=ER OW,
w[or]^=ER, #:[or]_=ER, #:[ors]_=ER Z, [orr]=AO R, [ore]=AO R, [or]=AO R, [oing]=OW IH NG, [ol]d=OW L,
[olk]=OW K, [oll]_=OW L, [olt]=OW L T, m[o]st_=OW, gh[o]st=OW, h[o]st_=OW, p[o]st=OW, l[o]ve=AH, d[o]ve=AH,
gl[o]ve=AH, ab[o]ve=AH, s[ome]=AH M, c[ome]=AH M, h[oney]=AH N IY, m[oney]=AH N IY, m[on]th=AH N,
m[on]d=AH N, m[o]ther=AH, br[o]ther=AH, [o]ther=AA, s[on]_=AH N, w[on]_=AH N, t[on]_=AH N, w[o]m=UH,
[ology]=AA L AX JH IY, [ological]=AX L AA JH IH K AX L, [ographer]=AA G R AX F ER,
[ography]=AA G R AX F IY, #:[on]_=AX N, #:[ons]_=AX N Z, #:[om]_=AX M, #:[ot]_=AX T, #:[op]_=AX P,
#:[ock]_=AA K, #:[o]s_=OW, _c[on]^=AX N, _c[om]^=AX M, _pr[o]^#=AX, c[o]n=AA, [o]ng=AO, [o]ss=AO, [o]ff=AO,
[o]ft=AO, [o]st=AO, d[o]g=AO, [o]^ia=OW, [o]^iou=OW, [o]^io=OW, _:[o]^%_=OW, [o]^e_=OW, [o]^es_=OW,
[o]^ed_=OW, [o]^ing_=OW, _:[o]^en_=OW, _:[o]^al=OW, _:[o]^er_=OW, _:[o]^a=OW, _:[o]^o=OW, _:[o]^#=AA,
[o]_=OW, #:[o]^#=aa, [o]#=OW, #:[o]^^=AA, [o]=AA
[ph]=F, _[ps]=S, _[pn]=N, _[pt]=T, [people]=P IY P AX L, [pp]=P, [psych]=S AY K, [p]=P
[que]_=K, [ques]_=K S, [quet]_=K EY, [quar]=K W AO R, [qu]=K W, [q]=K
_[re]^#=R IY, [rr]=R, _[rh]=R, [rh]_=R, [rh]=R, [r]=R
[sch]_=SH, _[sch]ool=S K, _[sch]e=S K, _[sch]=SH, [sh]=SH, [ssion]=SH AX N, #[sion]=ZH AX N,
[sion]=SH AX N, [ssur]=SH ER, #[sure]=ZH ER, _[sur]=S ER, _[su]g#r=SH UH, _[sure]=SH UH R,
[scious]=SH AX S, [sci]=S AY, #[sm]_=Z AX M, [sm]_=Z AX M, [stle]_=S AX L, [sten]=S AX N, [ss]=S,
#[se]s_=Z, #[sed]_=Z D, #[sing]_=Z IH NG, #r[se]_=S, #[s]e_=Z, #[s]#=Z, #:ou[s]_=S, #:u[s]_=S, #:i[s]_=S,
[s]'=, _:a[s]_=S, _:u[s]_=S, s[s]_=, .[s]_=Z, #:[s]_=Z, _:i[s]_=Z, #[s]_=Z, '[s]_=Z, #[sb]=Z B, #[s]d=Z,
[s]=S
[tch]=CH, [th]er_=DH, [th]ers_=DH, [th]e_=DH, [th]ing_=DH, _[th]is=DH, _[th]at=DH, _[th]e_=DH, _[th]ere=DH,
_[th]en_=DH, _[th]em=DH, _[th]ey=DH, _[th]ose=DH, _[th]ese=DH, _[th]ou=DH, _[th]us=DH, _[th]an_=DH,
_[th]y_=DH, [thm]_=DH AX M, _[thom]=T AA M, [th]=TH, [tion]=SH AX N, [tian]=SH AX N, [tial]=SH AX L,
[tious]=SH AX S, [tient]=SH AX N T, [tience]=SH AX N S, s[tion]=CH AX N, [tia]=SH AX, #:[ture]=CH ER,
#:[tures]=CH ER Z, #:[tu]al=CH UW, #:[tu]ou=CH UW, #:[tu]r=CH, [tzs]=T S, [tz]=T S, [tt]=T, _[two]_=T UW,
[t]=T
_[uni]^=Y UW N AX, _[un]=AH N, _[up]=AH P, _[us]_=AH S, _[us]#=Y UW Z, _[u]^#=Y UW, [uy]=AY, [ui]t_=UW,
[ui]se=UW, fr[ui]=UW, j[ui]c=UW, [ui]=UW IH, [ue]_=UW, [ues]_=UW Z, [ue]l=UW, [ue]=UW, [ua]=UW AX,
[uo]=UW AX, #:[ure]_=ER, #:[um]_=AX M, #:[us]_=AX S, #:[ul]^=AX L, #:[up]_=AX P, b[ull]=UH L, f[ull]=UH L,
p[ull]=UH L, b[ush]=UH SH, p[ush]=UH SH, p[ut]_=UH T, @[ure]=UH R, [ure]=Y UH R, @[ur]#=UH R, [urr]=ER,
[ur]#=Y UH R, [ur]=ER, @[u]^+=UW, @[u]^#=UW, c[u]^^=AH, [u]^le=AH, [u]^le_=Y UW, #:[ul]#=Y AX L, @[u]_=UW,
[u]_=UW, [u]^#=Y UW, [u]=AH
[vv]=V, [v]=V
_[wr]=R, [wh]o=HH, [wh]=W, [wn]_=N, [w]#=W, [wr]=R, [wor]ld=W ER, s[w]or=, [w]=W
_[x]=Z, [xc]+=K S, [xious]=K SH AX S, [x]=K S
_[you]=Y UW, _[y]#=Y, _:[y]_=AY, #:[y]_=IY, #:[yed]_=IY D, #:[ys]_=IY Z, [yre]_=AY R, [yr]=IH R,
_:[ying]_=AY IH NG, #:[ying]_=IY IH NG, _[y]=IH, [y]e_=AY, _:[y]^e=AY, _:[y]#=AY, _h[y]=AY, _c[y]^#=AY,
[y]pe=AY, [y]ph=IH, #[y]=Y, #^[y]#=Y, [y]=IH
[zz]=Z, [zh]=ZH, [z]=Z
"""

_CONTEXT = {
    "#": "[aeiouy]+",
    ":": "[^aeiouy_]*",
    "^": "[^aeiouy_']",
    "+": "[eiy]",
    "%": "(?:ely|ing|ers|er|es|ed|e)",
    ".": "[bdvgjlmnrwz]",
    "&": "(?:[scgzxj]|ch|sh)",
    "@": "(?:[tsrdlznj]|th|ch|sh)",
}

VOWEL_PHONES = frozenset("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW AX ae eh ih aa".split())

# Endings that draw the stress: how many vowels, counted from the last one, stand after the stressed one.
_STRESS_ENDINGS = (
    (3, re.compile(r"(?:ator|ators|ating|ated|ative|atory)$")),
    (0, re.compile(r"(?:ee|eer|ette|ique|esque|oon|aire|self|selves)$")),
    (
        1,
        re.compile(
            r"(?:[ts]ion|[ts]ions|c?ially|cian|ics?|[csgt]ious|[ctz]ial|cient|ini|ella|ello|etti|etta|ina|ino|ano|oso)$"
        ),
    ),
    (
        2,
        re.compile(
            r"(?:ities|ity|ical|ify|graphy|logy|nomy|cracy|pathy|ular|inous|ious|eous|ian|ia|ium|ually)$"
        ),
    ),
)
_WEAK_PREFIX = re.compile(
    r"^(?:a[bcdfglnpst]|be|com|con|de|dis|en|em|ex|for|im|in|mis|per|pre|pro|re|sub|sur|to|un)(?=[^aeiouy]*[aeiouy])"
)


class _Rule(NamedTuple):
    left: re.Pattern[str]  # matches the end of what stands before
    letters: str
    right: re.Pattern[str]  # matches the start of what stands after
    phones: tuple[str, ...]


@lru_cache(maxsize=4096)
def letters_to_phones(word: str) -> tuple[str, ...]:
    """Guess how an English word is spoken.

    Args:
        word: a-z and apostrophes, any case; anything else is skipped.

    Returns:
        ARPAbet phones, vowels with stress 0, 1 or 2; empty if the word has no letters.
    """
    letters = re.sub(r"[^a-z']", "", word.lower()).strip("'")
    if not letters:
        return ()
    return _with_stress(letters, _apply(letters))


def _apply(letters: str) -> list[str]:
    text = f"_{letters}_"
    phones: list[str] = []
    at = 1
    while at < len(text) - 1:
        for rule in _rules().get(text[at], ()):
            end = at + len(rule.letters)
            if (
                text.startswith(rule.letters, at)
                and rule.left.search(text, 0, at)
                and rule.right.match(text, end)
            ):
                phones += [p for p in rule.phones if not ([p] == phones[-1:] and p not in VOWEL_PHONES)]
                at = end
                break
        else:
            at += 1  # an apostrophe
    return phones


@lru_cache(maxsize=1)
def _rules() -> dict[str, tuple[_Rule, ...]]:
    """The table compiled, by first letter."""
    rules: dict[str, list[_Rule]] = {}
    for text in re.split(r",\s|\n", _TABLE.strip()):
        left, letters, right, phones = re.split(r"[\[\]=]", text)
        compiled = _Rule(
            re.compile(_context(left) + r"\Z"), letters, re.compile(_context(right)), tuple(phones.split())
        )
        rules.setdefault(letters[0], []).append(compiled)
    return {letter: tuple(of_letter) for letter, of_letter in rules.items()}


def _context(symbols: str) -> str:
    return "".join(_CONTEXT.get(symbol, re.escape(symbol)) for symbol in symbols)


def _with_stress(letters: str, phones: list[str]) -> tuple[str, ...]:
    vowels = [i for i, phone in enumerate(phones) if phone in VOWEL_PHONES]
    if not vowels:
        return tuple(phones)
    full = [i for i in vowels if phones[i] != "AX"] or vowels
    stressed = _stressed_vowel(letters, phones, vowels, full)
    spoken: list[str] = []
    for i, phone in enumerate(phones):
        if phone not in VOWEL_PHONES:
            spoken.append(phone)
        elif i == stressed:
            spoken.append(("AH" if phone == "AX" else phone.upper()) + "1")
        else:
            spoken.append(_unstressed(phone, is_last=i == vowels[-1]) + "0")
    return tuple(spoken)


def _stressed_vowel(letters: str, phones: list[str], vowels: list[int], full: list[int]) -> int:
    for after, ending in _STRESS_ENDINGS:
        if len(vowels) > after and ending.search(letters):
            return vowels[-1 - after]
    if len(vowels) == 2:
        return (
            vowels[1]
            if vowels[1] in full and (vowels[0] not in full or _WEAK_PREFIX.match(letters))
            else vowels[0]
        )
    if len(vowels) > 2 and _WEAK_PREFIX.match(letters) and vowels[1] in full:
        return vowels[1]
    return next((i for i in vowels[max(0, len(vowels) - 3) :] if i in full), full[0])


def _unstressed(phone: str, is_last: bool) -> str:
    """English blurs short vowels without stress."""
    return "AH" if phone == "AX" or phone.islower() or (phone in {"AE", "AH"} and not is_last) else phone
