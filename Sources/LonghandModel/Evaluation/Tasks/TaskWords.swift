// SPDX-License-Identifier: Apache-2.0

/// The words that generated tasks are made of.
enum TaskWords {
    static let colours = [
        "amber", "black", "blue", "bronze", "brown", "copper", "crimson", "golden", "green", "grey", "ivory", "orange",
        "pink", "purple", "red", "silver", "turquoise", "violet", "white", "yellow",
    ]
    static let things = [
        "anchor", "basket", "bell", "camera", "candle", "carpet", "chess board", "clock", "compass", "drum", "flute",
        "globe", "hammer", "harp", "kettle", "lantern", "mirror", "parasol", "saddle", "scarf", "sculpture", "suitcase",
        "telescope", "trumpet", "typewriter", "umbrella", "vase", "violin", "wagon", "whistle",
    ]
    static let placeBeginnings = [
        "Ald", "Brim", "Cor", "Dun", "Elm", "Fen", "Glen", "Hart", "Ingle", "Kel", "Lark", "Mar", "Nor", "Ost", "Pel",
        "Quarn", "Rav", "Stan", "Tarn", "Wex",
    ]
    static let placeEndings = [
        "bridge", "by", "combe", "dale", "field", "ford", "gate", "ham", "haven", "hollow", "mere", "mouth", "port",
        "stead", "stone", "thorpe", "ton", "water", "wick", "worth",
    ]
    static let givenNames = [
        "Ada", "Bruno", "Clara", "Dmitri", "Edith", "Farid", "Greta", "Hugo", "Ingrid", "Jonas", "Kamala", "Leon",
        "Mina", "Nils", "Olga", "Pablo", "Rosa", "Selim", "Tilda", "Viktor", "Wanda", "Yusuf", "Zoe", "Anton",
    ]
    static let familyNames = [
        "Abbott", "Bergmann", "Castell", "Delgado", "Eklund", "Fairley", "Galanis", "Hollis", "Ivanov", "Jansen",
        "Kowalski", "Lindqvist", "Moretti", "Novak", "Okafor", "Petrov", "Quintana", "Rossi", "Sandoval", "Tanaka",
        "Ueda", "Varga", "Whitlock", "Zimmer",
    ]
    static let adjectives = [
        "brave", "calm", "eager", "early", "faint", "gentle", "hollow", "humble", "idle", "jolly", "keen", "late",
        "lively", "mellow", "modest", "narrow", "patient", "plain", "proud", "quiet", "rapid", "rough", "sharp", "shy",
        "silent", "smooth", "stern", "sturdy", "tidy", "young",
    ]
    static let people = [
        "baker", "carpenter", "clerk", "cook", "doctor", "driver", "farmer", "fisher", "gardener", "guard", "judge",
        "librarian", "mason", "miller", "musician", "nurse", "painter", "pilot", "porter", "sailor", "singer", "student",
        "tailor", "teacher", "weaver",
    ]
    static let verbs = [
        "admired", "bought", "carried", "cleaned", "counted", "described", "drew", "found", "fixed", "forgot", "hid",
        "lifted", "measured", "moved", "noticed", "opened", "packed", "polished", "praised", "shared", "sold", "watched",
    ]
    static let objects = [
        "barrel", "bench", "book", "box", "bridge", "coat", "door", "engine", "fence", "field", "garden", "gate", "ladder",
        "lamp", "letter", "map", "picture", "road", "roof", "stove", "table", "tower", "wall", "well", "window",
    ]
    static let times = [
        "before noon", "after the rain", "on a Monday", "in the spring", "at dusk", "during the market", "last winter",
        "once again", "without a word", "as usual", "for the second time", "in a hurry",
    ]
    /// Five sentences that say nothing.
    static let noise = [
        "The grass grows and the sky stays wide.", "A cart goes up the road and another comes down.",
        "Birds sit on the fence for a while.", "The day is neither long nor short.",
        "Then everything begins once more.",
    ]
    /// Ways to say that E is the parent of Y.
    static let parentFrames = [
        "E is the parent of Y.", "Y is the child of E.", "E brought up a child named Y.", "Y was born to E.",
        "The parent of Y is E.", "As for E, the child there is Y.",
    ]
    /// Ways to say that E is a grandparent of Y.
    static let grandparentFrames = [
        "E is the grandparent of Y.", "Y is the grandchild of E.", "The grandparent of Y is E.",
        "E has a grandchild named Y.", "Y often visits the grandparent, E.", "As for E, the grandchild there is Y.",
    ]
}

/// Draws on top of the generator, the same in every implementation of the tasks.
extension SplitMix64 {
    /// A uniform number below `bound`: the high half of a product.
    mutating func below(_ bound: Int) -> Int { Int(next().multipliedFullWidth(by: UInt64(bound)).high) }

    /// A uniform element of a list that is not empty.
    mutating func pick<Element>(_ list: [Element]) -> Element { list[below(list.count)] }

    /// A uniform order, by Fisher and Yates from the end.
    mutating func shuffled<Element>(_ list: [Element]) -> [Element] {
        var result = list
        for i in result.indices.dropFirst().reversed() { result.swapAt(i, below(i + 1)) }
        return result
    }

    /// The first result of `draw` that `accept` takes; throws `ModelError` after a thousand others.
    mutating func draw<Value>(_ draw: (inout SplitMix64) -> Value, until accept: (Value) -> Bool) throws -> Value {
        for _ in 0..<1000 {
            let value = draw(&self)
            if accept(value) { return value }
        }
        throw ModelError("no answer could be drawn that does not occur in the text already")
    }

    /// Digits of a number without leading zero.
    mutating func digits(_ count: Int) -> String {
        String(1 + below(9)) + (1..<count).map { _ in String(below(10)) }.joined()
    }
}
