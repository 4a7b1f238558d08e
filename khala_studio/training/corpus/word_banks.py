"""Words and line patterns of the lyrics. Everything here is our own writing."""

from __future__ import annotations

BANKS: dict[str, tuple[str, ...]] = {
    bank: tuple(words.split("|") if "|" in words else words.split())
    for bank, words in {
        "adj": """
            silver golden lonely broken quiet gentle distant hollow frozen crimson tender reckless weary
            bitter sacred simple hidden shallow velvet wooden thirsty foolish honest joyful purple
            narrow heavy paper little yellow fragile endless empty rusty dusty faithful restless rugged
            shiny stormy sunny warm cold dark bright wild slow young old blue green red sweet soft loud
            strange rich poor deep high long wide brave smooth early orange royal secret sudden giant
            magic perfect crazy lucky hungry holy proud pure sharp thin thick wooly cloudy foggy noisy
            lazy busy pretty precious lovely clever curious
        """,
        "noun": """
            river mountain window garden mirror candle shadow engine station harbor island winter summer
            morning evening city highway bottle letter pillow signal feather whisper promise secret
            diamond ocean desert canyon meadow lantern ladder kitchen picture guitar piano radio bridge
            train road house door street stone flame star moon ship bell voice song heart hand smile
            dream ghost king child bird tree rose leaf cloud field fire ring chain wheel church clock
            coat dress knife lake map page path porch shore storm sword tower town truck wave year
            treasure vision engine castle circle corner country daughter brother sister mother father
            driver dancer stranger soldier sailor teacher painter doctor farmer judge queen woman
            village valley forest flower apple orange table chair blanket basket button bucket camera
            carpet jacket pocket rocket ticket tunnel thunder tiger horse wolf lion spider butterfly
            fountain statue airplane balloon boat box book brick bus cake cat dog fish fox frog fence
            flag floor game gate gift girl boy hat hill jewel key kite lamp mask nest owl pearl pond
            pool rainbow rope seed shell shoe sky snake snowflake spark spoon square stage story table
            tent thread toy violin wall wing wire wish worm zebra measure garage beach match bench watch
            fog judge bathtub thief leather feather weather youth tooth mouth
        """,
        "mass": """
            thunder water silver gold rain snow wind sunshine moonlight music laughter silence sugar
            honey whiskey coffee bread sand dust smoke glory freedom courage wisdom beauty trouble
            pleasure leisure sorrow joy love hope faith peace time fire lightning power magic money
            paper leather velvet gasoline air
        """,
        "verb": """
            follow carry remember discover imagine borrow cherish gather treasure forgive believe forget
            embrace hold keep find lose break hear feel touch chase leave love need want miss catch save
            trade paint build burn call choose climb cross draw drive reach teach thank watch bring
            steal see know trust help push pull open answer enjoy destroy protect admire describe
            measure notice picture question ignore welcome wash move meet judge join kiss push look
        """,
        "do": """
            run fall wait sing dance dream drift shine cry laugh sleep fade rise burn turn breathe call
            float grow hide howl lean march move pray race roll sail shake smile spin stand swim talk
            walk wash whistle wander shout think work cook ride fly jump
        """,
        "place": """
            by the river|in the city|on the highway|at the station|in the garden|through the window|
            over the mountain|under the bridge|across the ocean|beside the fire|behind the church|
            along the shore|up on the rooftop|down in the valley|out in the desert|inside the mirror|
            beyond the harbor|around the corner|beneath the willow|near the old mill|in the kitchen|
            on the beach|by the roadside|in the forest|at the crossroads|on the corner|in the shadows|
            above the rooftops|through the village|in the meadow|under the stars|over the hill|
            in the rain|by the water|on the edge of town|in my room
        """,
        "time": """
            tonight|today|forever|tomorrow|this morning|every evening|once again|after midnight|
            in the winter|before sunrise|all summer long|on sunday|at seven|someday soon|in the fall|
            each july|these days|all night long|every day|one more time|in september|on friday night|
            at the break of day|when the night is young|for a while|all the while|little by little|
            side by side|as we go
        """,
        "name": """
            maria johnny daisy annie billy rosie michael jenny thomas lucy joseph emma george charlie
            victor zoe hannah peter julie oscar
        """,
    }.items()
    for words in [" ".join(words.split()).replace("| ", "|")]
}

PLURAL_OF = dict(
    wolf="wolves",
    knife="knives",
    woman="women",
    thief="thieves",
    tooth="teeth",
    leaf="leaves",
    child="children",
    fish="fish",
    bus="buses",
)
PAST_OF = dict(
    hold="held",
    keep="kept",
    find="found",
    lose="lost",
    hear="heard",
    feel="felt",
    leave="left",
    catch="caught",
    build="built",
    choose="chose",
    draw="drew",
    drive="drove",
    teach="taught",
    bring="brought",
    steal="stole",
    see="saw",
    know="knew",
    forgive="forgave",
    forget="forgot",
    meet="met",
    run="ran",
    fall="fell",
    sing="sang",
    sleep="slept",
    rise="rose",
    grow="grew",
    hide="hid",
    shake="shook",
    spin="spun",
    stand="stood",
    swim="swam",
    think="thought",
    ride="rode",
    fly="flew",
    **{"break": "broke"},
    answer="answered",
    open="opened",
    gather="gathered",
    discover="discovered",
    remember="remembered",
    whistle="whistled",
    wander="wandered",
    treasure="treasured",
    measure="measured",
    shine="shone",
    follow="followed",
)

VERSE = """i {verb} the {adj} {noun} {place}
you were {do:ing} {place} {time}
we {verb} every {noun} and {noun}
the {adj} {noun} is {do:ing} {time}
oh {name} come and {do} with me {time}
there's a {noun} {place} and it's {do:ing}
i never {verb} a {adj} {noun} like you
give me the {noun} and the {adj} {noun}
take my {noun} and {verb} it {place}
somebody's {do:ing} {place}
she was {do:ing} with a {noun} {place}
he had a {adj} {noun} and a {noun}
they keep on {do:ing} {time}
all the {adj} {noun:s} are {do:ing} {time}
don't {verb} the {noun} that you {verb}
could you {verb} me {place}
i was just a {noun} {place}
nobody knows how to {verb} a {noun}
the {noun} and the {noun} are {do:ing} together
let the {noun} {verb} your {adj} {noun}
if you {verb} me i will {verb} you
{name} is {do:ing} {place}
we'll be {do:ing} {time} {place}
my {adj} {noun} is a {noun}
what a {adj} {adj} {noun}
tell me why the {noun} is {do:ing}
they say the {noun} will {verb} us {time}
i hear the {noun} of a {adj} {noun}
we got {mass} and we got {mass}
i {verb:ed} a {noun} {place}
she {verb:ed} my {noun} {time}
he {do:ed} with the {noun} {place}
you {verb:ed} my {adj} {noun}
{name} {verb:ed} the {noun:s} {place}
{mass} and {mass} {place}
the {mass} is {adj} {time}
i can {verb} the {mass} in your {noun}
every {adj} {noun} {verb:s} a {noun}
a {noun} in the {noun}
{do} with me {place}
{verb} the {noun} and {verb} the {noun}
i will {do} {place} for the {end}
we {verb:ed} the {adj} {end}
you were {do:ing} in the {end}
she was a {noun} in the {end}
and i {verb} you like the {end}
the {noun} {verb:s} the {end}
there's a {adj} {noun} by the {end}
a {adj} {noun} and a {end}
i only want the {adj} {end}
they {do:ed} all day with the {end}
{name} {verb:s} the {end}
{do:ing} {place} with the {end}
nobody {verb:s} my {adj} {end}
i {verb} the {noun} and the {end}
do you {verb} the {adj} {end}
the {noun:s} are {do:ing} to the {end}
{mass} is {do:ing} on the {end}
oh {verb} the {end}
one {adj} {end}
my {noun} and your {end}
we {do} by the {end}""".split("\n")

CHORUS = """oh oh {do:ing} through the {end}
we are {do:ing} in the {end}
hold on to the {end}
nothing but the {adj} {end}
you and i and the {end}
{verb} me like the {end}
this is our {end}
i will {verb} you by the {end}
give me one more {end}
{do:ing} and {do:ing} for the {end}
it's only a {adj} {end}
say you {verb} the {end}
oh my {adj} {end}
come on and {verb} the {end}
you are my {adj} {end}
we will {do} for the {end}
let it {do} like a {end}
tonight we {verb} the {end}
sing with me {name} sing with me
{do} with me {do} with me {time}
we {do} and we {do} {time}
i will {verb} you {time}
oh oh {name} we are {do:ing}
{adj} {noun} {adj} {noun}
you are the {noun} of my {noun}
all we need is {mass} and {mass}""".split("\n")

RHYMES = tuple(
    """
    night day way light fire rain sky heart road home mind name flame sea moon tune song dawn gold soul
    door floor shore star car guitar hand sand land band wall hall ball town crown sound ground heaven
    wind dream stream street beat sight fight air hair chair prayer ear tear year voice choice noise
    toys boy joy toy cloud crowd dove glove moonlight house mouth south book hook wood stone phone bone
    lake snake page stage age cage bell shell well bird word third rose nose hill will mill king ring
    spring spoon balloon game frame train plane chain river giver tree key bee knee boat coat goat bed
    thread head bread clock rock sock block bridge fridge fox box lamp camp storm form horn corn ship
    lip trip line wine sign mine wave cave grave grace place face space lace race mountain fountain
    letter sweater treasure measure pleasure feather leather weather city kitty brother mother garden
    pardon ladder thunder wonder station nation ocean motion lotion table cable candle handle fun sun
    gun moth cloth youth tooth truth beach peach wheel meal field shield world girl pearl ghost coast
    toast kite bite
    """.split()
)
