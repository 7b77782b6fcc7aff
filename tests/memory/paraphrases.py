"""Facts and paraphrased questions in four languages, for how well memory is searched.

A line is `fact | question`. Questions share few or misleading words with their fact, as people's questions do. Every
second line of a language is for tuning, the others for reporting (`halves`).
"""

from __future__ import annotations

from typing import NamedTuple


class Pair(NamedTuple):
    language: str
    fact: str
    question: str


_EN = """
The staging database lives on host pg-stage-2. | Where can I reach the test data store?
Dmitri's birthday is on the third of May. | When should we bake a cake for Dmitri?
The public API allows 100 requests per minute. | How often may one call the endpoint?
Ann cannot eat nuts. | What should not be in the dessert for Ann?
Releases go out on Thursdays after lunch. | On which day do we ship?
The backup key is in the red safe. | Where do I find what opens the backups?
Priya prefers short answers without greetings. | How does Priya like to be written to?
The office in Lyon closes at six. | Until when can I visit the French branch?
Invoices above 5,000 euros need Marta's signature. | Who has to approve an expensive bill?
The mobile app is written in Kotlin. | Which programming language is used for the phone client?
Tests must not touch the network. | May a unit test download something?
Our biggest customer is a hospital in Ghent. | Who pays us the most money?
The coffee machine is descaled every month. | How regularly is the espresso maker cleaned?
Leo moved from Berlin to Porto last autumn. | In which city does Leo live now?
The logo uses the colour teal. | What shade is our brand mark?
Passwords rotate every ninety days. | How long is a login secret valid?
Nina is the one to call when the servers are down. | Whom do I phone during an outage?
The newsletter is sent to 12,000 readers. | How large is the audience of our mailing?
Sam's dog is called Biscuit. | What is the name of Sam's pet?
Feature flags are stored in the file toggles.yaml. | Where is it configured what is switched on?
The contract with the cleaning firm ends in March. | When does the agreement about tidying up run out?
Build artefacts are deleted after two weeks. | How long do we keep compiled packages?
The user likes dark mode in every editor. | Which theme should be set by default?
Trains to the customer leave from platform nine. | Where do I board to travel to the client?
Olga plays the violin in an orchestra. | Which instrument does Olga master?
The search index is rebuilt at night. | At what time is the catalogue reindexed?
Henry is allergic to cats. | Why can Henry not visit a home with a kitten?
All dates are written as year, month, day. | Which format do timestamps have?
The team eats together on Wednesdays. | When is the common lunch?
The warehouse has room for 400 pallets. | What is the capacity of the depot?
Errors are reported to the channel ops-alerts. | Where do failures show up?
The garden shed needs a new roof before winter. | What has to be repaired outside until it gets cold?
"""
_DE = """
Der Testserver steht im Keller von Gebäude B. | Wo finde ich die Maschine zum Ausprobieren?
Jana verträgt keine Milch. | Was darf nicht in Janas Kaffee?
Rechnungen werden am letzten Freitag im Monat verschickt. | Wann gehen die Zahlungsaufforderungen raus?
Der Chef heißt Herr Brandt. | Wie lautet der Name des Vorgesetzten?
Die Katze von Tim heißt Minka. | Welches Haustier hat Tim?
Im Winter ist das Lager ab vier Uhr geschlossen. | Wie lange kann man bei Kälte Ware abholen?
Das Kennwort für das Gästenetz hängt am Empfang. | Wie komme ich als Besucher ins WLAN?
Paul fährt mit dem Rad zur Arbeit. | Womit kommt Paul ins Büro?
Die Datenbank wird jede Nacht gesichert. | Wie oft entsteht eine Sicherungskopie?
Für Reisen über 300 Euro braucht man eine Genehmigung. | Ab welchem Betrag muss eine Dienstreise erlaubt werden?
Lena lernt seit einem Jahr Spanisch. | Welche Sprache übt Lena?
Der Drucker im zweiten Stock ist kaputt. | Welches Gerät funktioniert gerade nicht?
Die Firma wurde 1998 in Kassel gegründet. | Seit wann gibt es das Unternehmen?
Unsere Anwendung ist in Rust geschrieben. | Mit welcher Programmiersprache wird entwickelt?
Montags ist die Kantine zu. | An welchem Tag gibt es kein Mittagessen im Haus?
Oma wohnt in der Gartenstraße 12. | Unter welcher Adresse besuche ich die Großmutter?
Der Vertrag mit dem Vermieter läuft bis 2027. | Wie lange dürfen wir die Räume noch nutzen?
Felix spielt am liebsten Schach. | Was ist Felix' Hobby?
Fehler werden in der Liste Mängel gesammelt. | Wo trage ich ein Problem ein?
Das Auto muss im Juni zum TÜV. | Wann wird der Wagen geprüft?
Die Kundin aus Wien zahlt immer bar. | Wer begleicht ohne Karte?
Die Heizung wird von der Firma Kurz gewartet. | Wen rufe ich an, wenn es kalt bleibt?
Der Schlüssel liegt unter der Fußmatte. | Wie komme ich in die Wohnung hinein?
Mia hat am elften August Geburtstag. | Wann muss ich Mia gratulieren?
Der Benutzer möchte mit Du angesprochen werden. | Welche Anrede ist gewünscht?
Das Projekt Falke hat sechs Mitarbeiter. | Wie groß ist die Mannschaft von Falke?
Neue Versionen prüft zuerst das Team Qualität. | Wer testet eine Freigabe?
Der Zug nach Hamburg fährt um 7:14 Uhr. | Wann geht es morgens an die Elbe?
Opa nimmt morgens zwei Tabletten. | Welche Medizin braucht der Großvater?
Die Wände im Flur sind gelb gestrichen. | Welche Farbe hat der Gang?
Protokolle werden neunzig Tage aufbewahrt. | Wann löschen wir alte Logs?
Der Garten wird im Sommer täglich gegossen. | Wie oft brauchen die Pflanzen Wasser?
"""
_NL = """
De testserver staat in de kelder van gebouw B. | Waar vind ik de machine om dingen te proberen?
Sanne mag geen gluten eten. | Wat moet er niet in het brood voor Sanne?
Facturen gaan op de laatste vrijdag van de maand weg. | Wanneer sturen we de rekeningen?
De directeur heet mevrouw Visser. | Wie is de baas?
De hond van Joris heet Bobbie. | Welk huisdier heeft Joris?
Het magazijn sluit in de winter om vier uur. | Tot hoe laat kan ik bij kou spullen ophalen?
Het wachtwoord van het gastnetwerk hangt bij de balie. | Hoe kan een bezoeker op internet?
Daan komt met de tram naar kantoor. | Waarmee reist Daan naar zijn werk?
De database wordt elke nacht gekopieerd. | Hoe vaak maken we een reservekopie?
Aankopen boven 500 euro moet Els goedkeuren. | Wie beslist over een dure bestelling?
Femke leert sinds een jaar Portugees. | Welke taal oefent Femke?
De lift op de derde verdieping is stuk. | Wat doet het op dit moment niet?
Het bedrijf is in 2003 in Zwolle opgericht. | Sinds wanneer bestaat de firma?
Onze website is in Elixir gemaakt. | Met welke programmeertaal werken we?
Op dinsdag is de kantine dicht. | Wanneer is er geen lunch in huis?
Oma woont aan de Kerkstraat 8. | Op welk adres bezoek ik grootmoeder?
Het huurcontract loopt tot 2028. | Hoe lang mogen we de ruimte nog gebruiken?
Ruben speelt graag hockey. | Wat is de hobby van Ruben?
Storingen meld je in het kanaal noodgeval. | Waar geef ik een probleem door?
De auto moet in mei worden gekeurd. | Wanneer heeft de wagen een inspectie?
De klant uit Brugge betaalt altijd te laat. | Wie houdt zich niet aan de betaaltermijn?
De verwarming wordt onderhouden door de firma Mulder. | Wie bel ik als het koud blijft?
De sleutel ligt onder de bloempot. | Hoe kom ik het huis binnen?
Lotte is jarig op 9 oktober. | Wanneer moet ik Lotte feliciteren?
De gebruiker wil korte antwoorden. | Hoe uitgebreid moet ik reageren?
Aan project Valk werken zeven mensen. | Hoe groot is de ploeg van Valk?
Nieuwe versies worden eerst door het team kwaliteit bekeken. | Wie test een uitgave?
De trein naar Groningen vertrekt om 8.21 uur. | Hoe laat gaan we 's ochtends naar het noorden?
Opa slikt 's avonds een pil voor zijn hart. | Welk medicijn gebruikt grootvader?
De muren van de gang zijn groen geverfd. | Welke kleur heeft de hal?
Logbestanden bewaren we dertig dagen. | Wanneer worden oude meldingen gewist?
De planten krijgen in de zomer elke dag water. | Hoe vaak moet de tuin worden besproeid?
"""
_ZH = """
测试服务器在B楼的地下室。 | 试验用的机器放在哪里?
小李对花生过敏。 | 给小李做菜不能放什么?
发票在每月最后一个星期五寄出。 | 账单什么时候发?
经理姓陈。 | 老板叫什么?
小王的猫叫咪咪。 | 小王养了什么宠物?
冬天仓库下午四点关门。 | 天冷时几点之前能去仓库取货?
访客网络的密码贴在前台。 | 客人怎么上网?
老赵骑自行车上班。 | 老赵怎么去公司?
数据库每天夜里备份。 | 多久备份一次数据?
超过五千元的采购要财务批准。 | 贵的东西谁同意才能买?
小林学了一年法语。 | 小林在学哪种语言?
三楼的打印机坏了。 | 哪台设备不能用?
公司一九九八年在杭州成立。 | 公司是哪一年创办的?
我们的程序是用Go写的。 | 用什么语言开发?
星期一食堂不开门。 | 哪天没有午饭?
奶奶住在花园路十二号。 | 奶奶的地址是什么?
租房合同到二零二七年为止。 | 房子还能用多久?
小周喜欢下围棋。 | 小周的爱好是什么?
故障要报告到值班群。 | 出了问题在哪里说?
汽车六月要年检。 | 车什么时候检查?
上海的客户总是用现金付款。 | 谁不刷卡?
暖气由康达公司维修。 | 屋里冷的时候找谁?
钥匙在花盆下面。 | 怎么进屋?
小美的生日是八月十一日。 | 什么时候祝贺小美?
用户希望回答简短。 | 回复应该写多长?
猎鹰项目有六个人。 | 猎鹰团队多大?
新版本先由质量组检查。 | 谁测试发布的软件?
去北京的火车七点十四分开。 | 早上几点出发去首都?
爷爷早上吃两片药。 | 爷爷要服什么?
走廊的墙是黄色的。 | 过道什么颜色?
日志保存九十天。 | 旧的记录什么时候删除?
夏天花园每天浇水。 | 植物多久浇一次?
"""


def pairs() -> list[Pair]:
    texts = {"en": _EN, "de": _DE, "nl": _NL, "zh": _ZH}
    return [
        Pair(language, *(part.strip() for part in line.split("|")))
        for language, text in texts.items()
        for line in text.strip().splitlines()
    ]


def halves() -> tuple[list[Pair], list[Pair]]:
    """For tuning and for reporting."""
    every = pairs()
    return every[::2], every[1::2]
